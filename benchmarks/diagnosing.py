"""Measure what the diagnosis of a detector takes at the end of a run, beside the matching of the same boxes.

    python -m benchmarks.diagnosing [--images 5000] [--detections 100] [--classes 80]

Run it alone on the machine: it prints CPU seconds of one process, and writes nothing.
"""

import argparse
import time
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import numpy as np
import torch

from fgd_core.data.samples import Category, Sample, count, fingerprint
from fgd_core.evaluation.coco import match_detections
from fgd_core.evaluation.diagnosis import by_object_count, diagnose, precision_curves
from fgd_core.evaluation.diagnosis.errors import kinds_of_error
from fgd_core.evaluation.diagnosis.matching import match_images
from fgd_core.evaluation.inference import ImageDetections

T = TypeVar("T")
SIDE_PX = 640
NUM_OBJECTS = 7
"""Of an image; COCO has as many on average."""


class Drawn(NamedTuple):
    """A made-up data set with detections: noisy copies of the objects, and false alarms."""

    dataset: "DrawnDataset"
    detections: dict[int, ImageDetections]


class DrawnDataset:
    """Is a `DetectionDataset` without pixels."""

    refusal = None

    def __init__(self, num_images: int, num_classes: int) -> None:
        rng = np.random.default_rng(0)
        self.categories = tuple(Category(id=index, name=f"class {index}") for index in range(num_classes))
        self.samples = [_sample(rng, index + 1, num_classes) for index in range(num_images)]
        self.fingerprint = fingerprint(self.categories, self.samples)
        self.checked = count("val", self.categories, self.samples, [])

    def load_image(self, index: int) -> torch.Tensor:
        """Raise an error: scores need no pixels."""
        raise AssertionError("scores need no pixels")


def drawn(num_images: int, num_detections: int, num_classes: int) -> Drawn:
    """Draw a data set and its detections."""
    dataset = DrawnDataset(num_images, num_classes)
    rng = np.random.default_rng(1)
    return Drawn(
        dataset, {sample.image_id: _found(rng, sample, num_detections, num_classes) for sample in dataset.samples}
    )


def timed(what: str, work: Callable[[], T]) -> T:
    """Do the work and print its CPU seconds."""
    began_s = time.process_time()
    result = work()
    print(f"{what:<28} {time.process_time() - began_s:8.2f} s")
    return result


def main() -> None:
    """Print the CPU seconds of each part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("images", 5000), ("detections", 100), ("classes", 80)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    torch.set_num_threads(1)
    dataset, found = drawn(options.images, options.detections, options.classes)
    evaluation = timed("matching and accumulating", lambda: match_detections(dataset, found))
    timed("curves", lambda: precision_curves(evaluation))
    images = timed("matching with all overlaps", lambda: match_images(dataset.samples, found))
    timed("kinds of error", lambda: kinds_of_error(images, options.classes))
    timed("AP by objects per image", lambda: by_object_count(dataset, evaluation))
    timed("the whole diagnosis", lambda: diagnose(dataset, images, evaluation))


def _sample(rng: np.random.Generator, image_id: int, num_classes: int) -> Sample:
    boxes = _boxes(rng, NUM_OBJECTS).astype(np.float32)
    sides = boxes[:, 2:] - boxes[:, :2]
    return Sample(
        image_id=image_id,
        file_name=f"{image_id}.jpg",
        height=SIDE_PX,
        width=SIDE_PX,
        boxes_xyxy_px=boxes,
        labels=rng.integers(num_classes, size=NUM_OBJECTS),
        is_crowd=np.zeros(NUM_OBJECTS, np.bool_),
        areas_px2=sides.prod(1).astype(np.float64),
    )


def _found(rng: np.random.Generator, sample: Sample, num_detections: int, num_classes: int) -> ImageDetections:
    near = rng.integers(NUM_OBJECTS, size=num_detections // 2)
    boxes = np.vstack(
        [sample.boxes_xyxy_px[near] + rng.normal(scale=6, size=(len(near), 4)), _boxes(rng, num_detections - len(near))]
    )
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
    labels = np.concatenate([sample.labels[near], rng.integers(num_classes, size=num_detections - len(near))])
    scores = -np.sort(-rng.random(num_detections))
    return ImageDetections(torch.from_numpy(boxes).float(), torch.from_numpy(scores).float(), torch.from_numpy(labels))


def _boxes(rng: np.random.Generator, number: int) -> np.ndarray:
    sides = np.exp(rng.uniform(np.log(12), np.log(300), size=(number, 2)))
    corners = rng.uniform(0, SIDE_PX - sides)
    return np.hstack([corners, corners + sides])


if __name__ == "__main__":
    main()
