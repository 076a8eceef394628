"""Finished runs that can be compared: drawn detections, scored as a run scores its own, and images."""

import io
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from fgd_core.spec.worst_images import DETECTIONS, DETECTIONS_VERSION, WORST_IMAGES, WorstImages
from tests.compare.evaluations import DrawnDataset, detections, evidence
from tests.web.page_server import PageServer
from tests.web.pictures import worst_images

SKILLS = {"good": 0.9, "poor": 0.4}
RATES = {"good": 0.01, "poor": 0.02}


def finished(server: PageServer, name: str, seed: int) -> str:
    """Run a job to success, and return its id.

    Args:
        name: of a configuration in `SKILLS`. The poor ones keep their worst images; the good ones find more there.
    """
    optimizer = {"type": "sgd", "learning_rate": RATES[name]}
    run = server.started(f"{name} {seed}", seed=seed, training={"batch_size": 8, "optimizer": optimizer})
    steps = range(200)
    run.trains(steps, total=200, loss=[2 / (1 + step * SKILLS[name] / 20) + seed / 50 for step in steps])
    run.evaluates(199, 0.3 * SKILLS[name])
    ground = DrawnDataset(7, num_images=60)
    with TemporaryDirectory() as folder:
        evidence(ground, detections(ground, seed, skill=SKILLS[name]), Path(folder))
        run.saves("evaluation.npz", (Path(folder) / "evaluation.npz").read_bytes())
    if name == "good":
        run.saves(DETECTIONS, _detections(WorstImages.model_validate_json(worst_images())))
    else:
        run.saves(WORST_IMAGES, worst_images().encode(), media_type="application/json")
    run.ends()
    return run.job_id


def _detections(worst: WorstImages) -> bytes:
    """Find all objects of each image but the last one."""
    boxes = [true.box_xyxy_px for image in worst.images for true in image.truth[:-1]]
    counts = [len(image.truth) - 1 for image in worst.images]
    file = io.BytesIO()
    np.savez(
        file,
        version=np.array(DETECTIONS_VERSION),
        fingerprint=np.array(worst.fingerprint),
        class_names=np.array(["car"]),
        image_ids=np.array([image.image_id for image in worst.images]),
        starts=np.cumsum([0, *counts]),
        boxes=np.array(boxes, dtype=np.float32),
        score=np.full(len(boxes), 0.8, np.float32),
        label=np.zeros(len(boxes), np.int32),
        truth=np.concatenate([np.arange(count) for count in counts]).astype(np.int32),
        ignored=np.zeros(len(boxes), bool),
    )
    return file.getvalue()
