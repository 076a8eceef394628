"""The model that a user calls: it prepares images, detects, and returns results at the size of the images."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from fgd_core.mask_pasting import paste_mask
from fgd_core.prediction.pixels import ImageBatch, ImageLike, prepare, read_pixels
from fgd_core.spec.exports import ExportDescription


class RawDetections(NamedTuple):
    """Holds the n detections of an image in pixels of the resized image, highest score first."""

    boxes: npt.NDArray[np.float32]
    """(n, 4) xyxy"""
    scores: npt.NDArray[np.float32]
    """(n,) in [0, 1]"""
    labels: npt.NDArray[np.int64]
    """(n,)"""
    masks: npt.NDArray[np.float32] | None = None
    """(n, M, M) in [0, 1], stretched over each box"""
    keypoints: npt.NDArray[np.float32] | None = None
    """(n, K, 3) x, y and a score without limits"""


class Engine(Protocol):
    """Runs a detector on batches."""

    @property
    def description(self) -> ExportDescription:
        """What the detector is and needs."""
        ...

    def detect(self, batch: ImageBatch) -> list[RawDetections]:
        """Detect the objects of each image."""
        ...


class Prediction(NamedTuple):
    """Holds the n objects found in an image, highest score first, in pixels of the given image."""

    boxes_xyxy_px: npt.NDArray[np.float32]
    """(n, 4)"""
    scores: npt.NDArray[np.float32]
    """(n,) in [0, 1]"""
    labels: npt.NDArray[np.int64]
    """(n,) indices of `Model.classes`"""
    names: list[str]
    """The class of each object"""
    masks: npt.NDArray[np.bool_] | None = None
    """(n, height, width); None if the detector has no masks"""
    keypoints: npt.NDArray[np.float32] | None = None
    """(n, K, 3) x, y and a score without limits; None if the detector has no keypoints"""


class Model:
    """Detects objects in images.

    Args:
        score_threshold: objects with a lower score are left out; None: the threshold of the detector.
    """

    def __init__(self, engine: Engine, *, score_threshold: float | None = None) -> None:
        self._engine = engine
        self.score_threshold = score_threshold
        self.description = engine.description

    @property
    def classes(self) -> list[str]:
        """The names of the classes, in the order of the labels."""
        return [each.name for each in self.description.classes]

    def __call__(self, image: ImageLike) -> Prediction:
        """Detect the objects of an image.

        Raises:
            DataError: the image cannot be read.
        """
        (found,) = self.batch([image])
        return found

    def batch(self, images: Sequence[ImageLike]) -> list[Prediction]:
        """Detect the objects of each image, all in one forward pass; raises as `__call__` does."""
        if not images:
            return []
        batch = prepare([read_pixels(each) for each in images], self.description.input, self.description.size_px)
        found = self._engine.detect(batch)
        return [self._finished(each, batch, index) for index, each in enumerate(found)]

    def _finished(self, raw: RawDetections, batch: ImageBatch, index: int) -> Prediction:
        """Move the detections of an image of the batch to the size of the given image."""
        raw = _above(raw, self.score_threshold or 0.0)
        ratio = batch.to_original(index)
        factors = np.concatenate([ratio, ratio])
        boxes = raw.boxes * factors
        masks, keypoints = None, None
        if raw.masks is not None:
            placed = (raw.boxes.astype(np.float64) + self.description.mask_offset_px) * factors
            height, width = batch.original_sizes[index].tolist()
            pasted = [paste_mask(mask, box, (height, width)) for mask, box in zip(raw.masks, placed, strict=True)]
            masks = np.stack(pasted) if pasted else np.zeros((0, height, width), np.bool_)
        if raw.keypoints is not None:
            keypoints = (raw.keypoints * [*ratio, 1]).astype(np.float32)
        names = [self.description.classes[label].name for label in raw.labels.tolist()]
        return Prediction(boxes.astype(np.float32), raw.scores, raw.labels, names, masks, keypoints)


def _above(raw: RawDetections, threshold: float) -> RawDetections:
    chosen = raw.scores >= threshold
    return RawDetections(*(None if values is None else values[chosen] for values in raw))  # type: ignore[arg-type]
