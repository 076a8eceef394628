"""Evaluations to compare: drawn by a seed, on real and on made-up data sets, and the evidence that they leave."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from fgd_core.data.samples import Category, DetectionDataset, Sample, count, fingerprint
from fgd_core.detectors.base import Detections
from fgd_core.evaluation.coco import match_detections
from fgd_core.evaluation.evidence import write_evidence
from fgd_core.evaluation.inference import ImageDetections
from fgd_core.statistics.evidence import Evidence, read

SIDE_PX = 400


class DrawnDataset:
    """Images of `SIDE_PX` with boxes of all sizes, some of them crowds, in classes of which the last has few."""

    def __init__(self, seed: int, *, num_images: int = 12, num_classes: int = 3, copies: Sequence[int] = ()) -> None:
        """
        Args:
            copies: how often each image is there; once each, unless given.
        """
        rng = np.random.default_rng(seed)
        self.categories = tuple(Category(id=place * 7, name=f"class {place}") for place in range(num_classes))
        drawn = [_sample(rng, image_id=10 * (place + 1), num_classes=num_classes) for place in range(num_images)]
        times = copies or [1] * num_images
        self.samples = [
            _with_id(sample, sample.image_id * 1000 + copy)
            for sample, often in zip(drawn, times, strict=True)
            for copy in range(often)
        ]
        self.fingerprint = fingerprint(self.categories, self.samples)
        self.checked = count("val", self.categories, self.samples, [])

    def load_image(self, index: int) -> torch.Tensor:
        raise AssertionError("scores need no pixels")


def detections(dataset: DetectionDataset, seed: int, *, skill: float = 0.7, ties: bool = True) -> dict[int, Detections]:
    """Shifted boxes, some missed, some doubled, false alarms; the same for copies of an image.

    Args:
        skill: in 0 to 1; how near the boxes are.
        ties: whether many scores are the same.
    """
    found = {}
    for sample in dataset.samples:
        rng = np.random.default_rng([seed, sample.image_id // 1000])
        picked = rng.integers(len(sample.labels), size=len(sample.labels) + 1) if len(sample.labels) else []
        sides = sample.boxes_xyxy_px[picked][:, 2:] - sample.boxes_xyxy_px[picked][:, :2]
        shift = rng.normal(size=(len(picked), 4)) * np.hstack([sides, sides]) * (1 - skill) / 4
        boxes = sample.boxes_xyxy_px[picked] + shift
        alarms = _boxes(rng, 3)
        labels = rng.integers(len(dataset.categories), size=len(picked) + 3)
        labels[: len(picked)] = np.where(rng.random(len(picked)) < 0.8, sample.labels[picked], labels[: len(picked)])
        ends = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
        scores = rng.integers(1, 30, size=len(labels)) / 30 if ties else rng.random(len(labels))
        found[sample.image_id] = Detections(np.vstack([np.hstack([boxes[:, :2], ends]), alarms]), scores, labels)
    return found


def as_images(found: Mapping[int, Detections]) -> dict[int, ImageDetections]:
    """Return the same detections as an inference returns them: best first."""
    images = {}
    for image_id, each in found.items():
        order = np.argsort(-np.asarray(each.scores), kind="stable")
        columns = (np.asarray(column)[order] for column in (each.boxes_xyxy_px, each.scores, each.labels))
        images[image_id] = ImageDetections(*map(torch.from_numpy, columns))
    return images


def evidence(dataset: DetectionDataset, found: Mapping[int, Detections], folder: Path) -> Evidence:
    """Written, and read again."""
    names = [category.name for category in dataset.categories]
    write_evidence(match_detections(dataset, found), fingerprint=dataset.fingerprint, class_names=names, folder=folder)
    return read(folder / "evaluation.npz", whose="a run")


def _sample(rng: np.random.Generator, *, image_id: int, num_classes: int) -> Sample:
    num_boxes = int(rng.integers(0, 6))
    boxes = _boxes(rng, num_boxes).astype(np.float32)
    # Rarer from class to class; the last may be missing altogether.
    labels = np.minimum(rng.geometric(0.6, size=num_boxes) - 1, num_classes - 1)
    return Sample(
        image_id=image_id,
        file_name=f"{image_id}.png",
        height=SIDE_PX,
        width=SIDE_PX,
        boxes_xyxy_px=boxes,
        labels=labels.astype(np.int64),
        is_crowd=rng.random(num_boxes) < 0.15,
        areas_px2=((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).astype(np.float64),
    )


def _with_id(sample: Sample, image_id: int) -> Sample:
    return Sample(**{**vars(sample), "image_id": image_id, "file_name": f"{image_id}.png"})


def _boxes(rng: np.random.Generator, number: int) -> np.ndarray:
    """(number, 4): sides from 8 to 160 px, so that each of COCO's sizes occurs."""
    sides = np.exp(rng.uniform(np.log(8), np.log(160), size=(number, 2)))
    corners = rng.uniform(0, SIDE_PX - sides)
    return np.hstack([corners, corners + sides])
