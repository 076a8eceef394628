"""Defines the interface of all detectors: feature maps of a pyramid, losses on them, and detections from them."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from fgd_core.data.targets import Targets
from fgd_core.outputs import FeatureLevel


class Detections(NamedTuple):
    """Holds the detections of one image, highest score first."""

    boxes_xyxy_px: Tensor
    """(n, 4)"""
    scores: Tensor
    """(n,) in [0, 1]"""
    labels: Tensor
    """(n,) int64, the index of the class"""
    masks: Tensor | None = None
    """(n, M, M) in [0, 1], stretched over each box: how likely the object covers each cell. None without masks."""


class Detector(nn.Module):
    """Runs in three named steps, so that a distiller can use the pyramid between them without a hook.

    `levels` describes the maps that `features` returns, in that order, fine to coarse.
    """

    levels: tuple[FeatureLevel, ...]
    num_classes: int
    has_masks: bool = False
    """Whether the losses need masks and the detections have masks."""
    mask_offset_px: float = 0.0
    """The offset of a mask from its box, to the right and down, in pixels of the resized image. A region that is pooled
    without alignment, as in torchvision, shows the image half a pixel to the right and below the region."""

    @abstractmethod
    def features(self, images: Tensor) -> list[Tensor]:
        """Compute the maps: (N, 3, H, W), normalised and padded, to (N, C, H / stride, W / stride) for each level."""

    @abstractmethod
    def losses(self, features: Sequence[Tensor], targets: Targets) -> dict[str, Tensor]:
        """Compute the terms of the task loss; the loss is their sum.

        Args:
            features: for each level (N, C, H, W), from `features`.
        Returns:
            Name to scalar; finite even if no image has a box.
        """

    @abstractmethod
    def detect(self, features: Sequence[Tensor], image_sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        """Detect the objects of each image, in pixels of the resized image and inside it.

        Args:
            features: for each level (N, C, H, W), from `features`.
            image_sizes: for each image (height, width) in pixels, before padding.
        """


def num_parameters(detector: nn.Module) -> int:
    """Count all weights, trained or frozen."""
    return sum(parameter.numel() for parameter in detector.parameters())
