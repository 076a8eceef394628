"""What every detector is: a pyramid of feature maps, losses on it, and detections from it."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn


class FeatureLevel(NamedTuple):
    name: str
    stride: int
    """Pixels of the input per cell."""
    channels: int


class Detections(NamedTuple):
    """What was found in one image, best first."""

    boxes_xyxy_px: Tensor
    """(n, 4)"""
    scores: Tensor
    """(n,) in [0, 1]"""
    labels: Tensor
    """(n,) int64, the index of the class"""


class Detector(nn.Module):
    """Three named steps, so that a distiller can take the pyramid between them without a hook.

    `levels` are the maps that `features` returns, in that order, fine to coarse.
    """

    levels: tuple[FeatureLevel, ...]
    num_classes: int

    @abstractmethod
    def features(self, images: Tensor) -> list[Tensor]:
        """(N, 3, H, W), normalised and padded, to one (N, C, H / stride, W / stride) for each level."""

    @abstractmethod
    def losses(
        self, features: Sequence[Tensor], boxes: Sequence[Tensor], labels: Sequence[Tensor]
    ) -> dict[str, Tensor]:
        """The terms of the task loss, to be added up.

        Args:
            features: as `features` returns them.
            boxes: for each image (n, 4) xyxy in pixels of the resized image; n may be 0.
            labels: for each image (n,) int64 in [0, num_classes).
        Returns:
            Name to scalar; finite also where no image has a box.
        """

    @abstractmethod
    def detect(self, features: Sequence[Tensor], image_sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        """The detections of each image, in pixels of the resized image and inside it.

        Args:
            features: as `features` returns them.
            image_sizes: for each image (height, width) in pixels, before padding.
        """


def num_parameters(detector: nn.Module) -> int:
    return sum(parameter.numel() for parameter in detector.parameters())
