"""Wraps a detector as one graph from a batch of images to its detections."""

from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

import torch
from torch import Tensor, nn

from fgd_core.data.loading import MEAN, STD
from fgd_core.detectors.base import Detector
from fgd_core.detectors.cascade_rcnn import CascadeMaskRcnn, CascadeRcnn
from fgd_core.detectors.faster_rcnn import FasterRcnn
from fgd_core.detectors.fcos import Fcos
from fgd_core.detectors.gfl import Gfl
from fgd_core.detectors.keypoint_rcnn import KeypointRcnn
from fgd_core.detectors.mask_rcnn import MaskRcnn
from fgd_core.detectors.parts.dense import DenseDetector
from fgd_core.detectors.reppoints import RepPoints
from fgd_core.detectors.retinanet import RetinaNet
from fgd_core.detectors.solo import Solo
from fgd_core.errors import SpecError
from fgd_core.export.dense import all_locations, detect_dense
from fgd_core.export.solo import detect_masks
from fgd_core.export.two_stage import detect_in_two_stages
from fgd_core.spec.exports import ExportDescription

Detect: TypeAlias = Callable[..., Iterable[Tensor | None]]
"""(detector, images (N, 3, H, W), image sizes (N, 2)) -> detections."""

DETECT: Mapping[type[Detector], Detect] = {
    RetinaNet: detect_dense,
    Fcos: detect_dense,
    Gfl: detect_dense,
    RepPoints: detect_dense,
    FasterRcnn: detect_in_two_stages,
    MaskRcnn: detect_in_two_stages,
    KeypointRcnn: detect_in_two_stages,
    CascadeRcnn: detect_in_two_stages,
    CascadeMaskRcnn: detect_in_two_stages,
    Solo: detect_masks,
}


def output_names(description: ExportDescription) -> list[str]:
    """Name the outputs of a graph, in their order."""
    parts = (("masks", description.has_masks), ("heat_maps", description.has_keypoints))
    found = [name for name, is_there in parts if is_there and description.postprocesses]
    return ["boxes", "scores", *(["labels"] if description.postprocesses else []), *found]


class DetectionGraph(nn.Module):
    """Detects in one pass that can be exported.

    Args:
        normalises: whether the images are RGB from 0 to 255; else they are normalised and padded with zeros.
        postprocesses: whether it returns detections; else the boxes and scores of all locations.
    Raises:
        SpecError: the detector has no outputs without post-processing.
    """

    def __init__(self, detector: Detector, *, normalises: bool = True, postprocesses: bool = True) -> None:
        super().__init__()
        self.detector, self.normalises = detector, normalises
        if not postprocesses and not isinstance(detector, DenseDetector):
            raise SpecError(
                f"{type(detector).__name__} selects regions or masks inside its network, so it cannot be exported "
                "without post-processing; set postprocess to true"
            )
        self._detect: Detect = DETECT[type(detector)] if postprocesses else all_locations
        self.mean, self.std = nn.Buffer(torch.from_numpy(MEAN)), nn.Buffer(torch.from_numpy(STD))

    def forward(self, images: Tensor, image_sizes: Tensor) -> tuple[Tensor, ...]:
        """Detect in a batch.

        Args:
            images: (N, 3, H, W) float32, padded to the right and at the bottom to equal sizes.
            image_sizes: (N, 2) int64 height and width before padding.
        Returns:
            The fields of `BatchDetections` that the detector has; without post-processing the boxes (N, A, 4) and
            scores (N, A, K) of all locations.
        """
        images = self._normalised(images, image_sizes) if self.normalises else images
        return tuple(part for part in self._detect(self.detector, images, image_sizes) if part is not None)

    def _normalised(self, images: Tensor, image_sizes: Tensor) -> Tensor:
        """Normalise images (N, 3, H, W); the padding becomes zero, as in training."""
        rows, columns = (torch.arange(images.shape[axis], device=images.device) for axis in (2, 3))
        is_image = (rows < image_sizes[:, :1])[:, :, None] & (columns < image_sizes[:, 1:])[:, None]  # (N, H, W)
        return torch.where(is_image[:, None], (images - self.mean) / self.std, 0.0)
