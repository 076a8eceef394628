"""Runs checkpoints of fgd in PyTorch."""

import hashlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fgd_core.data.loading import normalised
from fgd_core.detectors.base import Detections, Detector
from fgd_core.detectors.weights.checkpoint import read_checkpoint
from fgd_core.errors import DeviceError
from fgd_core.export.description import describe
from fgd_core.prediction.model import RawDetections
from fgd_core.prediction.pixels import ImageBatch
from fgd_core.spec.exports import ExportDescription


class CheckpointEngine:
    """Runs one detector on `device`."""

    def __init__(self, detector: Detector, description: ExportDescription, device: torch.device) -> None:
        self._detector, self._device = detector.to(device).eval(), device
        self.description = description

    @torch.no_grad()
    def detect(self, batch: ImageBatch) -> list[RawDetections]:
        """Detect the objects of each image."""
        sizes = [(height, width) for height, width in batch.sizes.tolist()]
        images = normalised_batch(batch).to(self._device)
        features = self._detector.features(images)
        return [raw(each) for each in self._detector.detect(self._detector.predict(features, sizes), sizes)]


def open_checkpoint(path: Path, device: str) -> CheckpointEngine:
    """Open a checkpoint of fgd.

    Raises:
        WeightsError: the file is damaged, or is not a checkpoint of fgd.
        DeviceError: PyTorch has no such device.
    """
    checkpoint, _ = read_checkpoint(path)
    detector, _ = checkpoint.build("detector", str(path))
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    description = describe(checkpoint, detector, source=str(path), sha256=sha256)
    return CheckpointEngine(detector, description, device_named(device))


def device_named(name: str) -> torch.device:
    """Return a device of PyTorch.

    Raises:
        DeviceError: PyTorch has no such device.
    """
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise DeviceError(f"PyTorch cannot use the device {name} here; use cpu", device=name) from error
    return device


def normalised_batch(batch: ImageBatch) -> Tensor:
    """Normalise the images of a batch: (N, 3, H, W), with zeros as padding."""
    images = torch.zeros(batch.images.shape)
    for target, image, (height, width) in zip(images, batch.images, batch.sizes.tolist(), strict=True):
        target[:, :height, :width] = normalised(torch.from_numpy(image[:, :height, :width]))
    return images


def raw(detections: Detections) -> RawDetections:
    """Convert detections to arrays."""
    parts = (None if part is None else part.cpu().numpy() for part in detections)
    boxes, scores, labels, masks, keypoints = parts
    assert boxes is not None and scores is not None and labels is not None
    return RawDetections(boxes, scores, labels.astype(np.int64), masks, keypoints)
