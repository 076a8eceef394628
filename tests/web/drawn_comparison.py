"""Finished runs that can be compared: drawn detections, scored as a run scores its own, and images."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from fgd_core.data.samples import Category, Sample, count
from fgd_core.evaluation.detections_file import write_detections
from fgd_core.evaluation.diagnosis.matching import MatchedImage, match_image
from fgd_core.evaluation.inference import ImageDetections
from fgd_core.spec.worst_images import DETECTIONS, WORST_IMAGES, ShownImage, WorstImages
from tests.compare.evaluations import DrawnDataset, as_images, detections, evidence
from tests.web.drawn_job import worst_images
from tests.web.page_server import PageServer, ReportingRun

SKILLS = {"good": 0.9, "poor": 0.4}
RATES = {"good": 0.01, "poor": 0.02}
NUM_IMAGES = 20
NUM_KEPT = 4
"""Images of which a poor run keeps the picture."""


def finished(server: PageServer, name: str, seed: int) -> str:
    """Run a job to success, and return its id.

    Args:
        name: of a configuration in `SKILLS`. The good ones find all objects of an image but the last; the poor ones
            find half, with a false alarm.
    """
    run = begun(server, name, seed)
    ends(run, name, seed)
    return run.job_id


def begun(server: PageServer, name: str, seed: int) -> ReportingRun:
    """Start a job, and report its curves up to the last step."""
    optimizer = {"type": "sgd", "learning_rate": RATES[name]}
    run = server.started(f"{name} {seed}", seed=seed, training={"batch_size": 8, "optimizer": optimizer})
    steps = range(200)
    run.trains(steps, total=200, loss=[2 / (1 + step * SKILLS[name] / 20) + seed / 50 for step in steps])
    run.evaluates(199, 0.3 * SKILLS[name])
    return run


def ends(run: ReportingRun, name: str, seed: int) -> None:
    """Save what comparisons need, and end the job."""
    ground, images = DrawnDataset(7, num_images=60), _Images()
    with TemporaryDirectory() as folder:
        evidence(ground, detections(ground, seed, skill=SKILLS[name]), Path(folder))
        write_detections(images, [_found(sample, name) for sample in images.samples], Path(folder))
        for file in ("evaluation.npz", DETECTIONS):
            run.saves(file, (Path(folder) / file).read_bytes())
    if name == "poor":
        run.saves(WORST_IMAGES, worst_images(NUM_KEPT).encode(), media_type="application/json")
    run.ends()


@cache
def _shown() -> list[ShownImage]:
    return WorstImages.model_validate_json(worst_images(NUM_IMAGES)).images


class _Images:
    """The validation split of which `worst_images` shows the first images."""

    categories = (Category(id=1, name="car"),)
    fingerprint = "drawn"
    refusal = None

    def __init__(self) -> None:
        self.samples = [_sample(image) for image in _shown()]
        self.checked = count("val", self.categories, self.samples, [])

    def load_image(self, index: int) -> None:
        raise AssertionError("the file has no pixels")


def _sample(image: ShownImage) -> Sample:
    boxes = np.array([true.box_xyxy_px for true in image.truth], np.float32)
    return Sample(
        image_id=image.image_id,
        file_name=image.file_name,
        height=image.height,
        width=image.width,
        boxes_xyxy_px=boxes,
        labels=np.zeros(len(boxes), np.int64),
        is_crowd=np.zeros(len(boxes), np.bool_),
        areas_px2=np.ones(len(boxes)),
    )


def _found(sample: Sample, name: str) -> MatchedImage:
    true = sample.boxes_xyxy_px
    # Later images are easier for the poor runs: the first ones are disputed most.
    num_found = len(true) - 1 if name == "good" else 1 + sample.image_id * (len(true) - 1) // (NUM_IMAGES + 1)
    alarm = np.array([[5.0, 5.0, 25.0, 25.0]] if name == "poor" else []).reshape(-1, 4)
    boxes = np.vstack([true[:num_found], alarm])
    found = ImageDetections(boxes, np.linspace(0.9, 0.5, len(boxes)), np.zeros(len(boxes), np.int64))
    return match_image(sample, as_images({0: found})[0])
