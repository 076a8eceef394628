"""The model that a user calls: it prepares images, detects, and returns results at the size of the images."""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from fgd_core.errors import SpecError, WeightsError
from fgd_core.mask_pasting import paste_mask
from fgd_core.prediction.pixels import ImageBatch, ImageLike, prepare, read_pixels
from fgd_core.spec.exports import ExportDescription

# Loaded only when such a file is opened: an ONNX file needs no PyTorch, a checkpoint no onnxruntime.
_ENGINES: Mapping[str, str] = {
    ".onnx": "fgd_core.prediction.onnx_engine:open_onnx",
    ".pt2": "fgd_core.export.program_engine:open_program",
}
_CHECKPOINT = "fgd_core.export.checkpoint_engine:open_checkpoint"


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
        names = [self.classes[label] for label in raw.labels.tolist()]
        return Prediction(boxes.astype(np.float32), raw.scores, raw.labels, names, masks, keypoints)


def load_model(path: str | Path, *, device: str = "cpu", score_threshold: float | None = None) -> Model:
    """Load a detector from an fgd checkpoint, or from a file that an `export` job wrote.

    Args:
        path: a checkpoint, an ONNX file (`.onnx`) or a program of `torch.export` (`.pt2`).
        device: `cpu` or `cuda`.
        score_threshold: objects with a lower score are left out; None: the threshold of the detector.
    Raises:
        WeightsError: the file does not exist, or is not one of these.
        SpecError: a package that the file needs is not installed.
    """
    file = Path(path)
    if not file.is_file():
        raise WeightsError("there is no such file; give a checkpoint or an exported file", path=str(file))
    module, _, function = _ENGINES.get(file.suffix, _CHECKPOINT).partition(":")
    try:
        opened: Engine = getattr(importlib.import_module(module), function)(file, device)
    except ModuleNotFoundError as error:
        if (error.name or "fgd_core").partition(".")[0] == "fgd_core":
            raise
        extra = "runtime" if file.suffix == ".onnx" else "workers"
        raise SpecError(
            f"{file.name} needs the package {error.name}, which is not installed; run `pip install fgd[{extra}]`"
        ) from error
    return Model(opened, score_threshold=score_threshold)


def _above(raw: RawDetections, threshold: float) -> RawDetections:
    chosen = raw.scores >= threshold
    return RawDetections(*(None if values is None else values[chosen] for values in raw))  # type: ignore[arg-type]
