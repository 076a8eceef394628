"""What every detector is: a pyramid of feature maps, losses on it, and detections from it."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from fgd_core.data.targets import Targets


class FeatureLevel(NamedTuple):
    name: str
    stride: int
    """Pixels of the input per cell."""
    channels: int
    is_derived: bool = False
    """Whether it only subsamples the level below, and so holds nothing of its own."""


class Detections(NamedTuple):
    """What was found in one image, best first."""

    boxes_xyxy_px: Tensor
    """(n, 4)"""
    scores: Tensor
    """(n,) in [0, 1]"""
    labels: Tensor
    """(n,) int64, the index of the class"""
    masks: Tensor | None = None
    """(n, M, M) in [0, 1], stretched over each box: how likely the object covers that part. None without masks."""


class Detector(nn.Module):
    """Three named steps, so that a distiller can take the pyramid between them without a hook.

    `levels` are the maps that `features` returns, in that order, fine to coarse.
    """

    levels: tuple[FeatureLevel, ...]
    num_classes: int
    has_masks: bool = False
    """Whether its losses need masks and its detections have them."""
    mask_offset_px: float = 0.0
    """How far to the right of its box and below it a mask lies, in pixels of the resized image. Regions that are cut
    out without alignment, as torchvision's are, hold what lies half a pixel farther on."""

    @abstractmethod
    def features(self, images: Tensor) -> list[Tensor]:
        """(N, 3, H, W), normalised and padded, to one (N, C, H / stride, W / stride) for each level."""

    @abstractmethod
    def losses(self, features: Sequence[Tensor], targets: Targets) -> dict[str, Tensor]:
        """The terms of the task loss, to be added up.

        Args:
            features: as `features` returns them.
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
