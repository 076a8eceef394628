"""Defines the interface of all detectors: feature maps of a pyramid, outputs of the heads, losses and detections."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Generic, NamedTuple

from torch import Tensor, nn
from typing_extensions import TypeVar

from fgd_core.data.targets import Targets
from fgd_core.outputs import DenseHead, FeatureLevel, RegionHead

# The default makes `Detector` a detector whose outputs only the detector itself reads.
Out = TypeVar("Out", default=Any)
"""The outputs of a detector."""


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
    keypoints: Tensor | None = None
    """(n, K, 3): x and y in pixels, and a score without limits, higher for a more certain place. None without
    keypoints."""


class Detector(nn.Module, Generic[Out]):
    """Runs in named steps, so that a distiller can use what is between them without a hook.

    `features` computes the pyramid, `predict` the outputs of the heads, and `losses` and `detect` read the outputs.
    `levels` describes the maps that `features` returns, in that order, fine to coarse.
    """

    levels: tuple[FeatureLevel, ...]
    num_classes: int
    has_masks: bool = False
    """Whether the losses need masks and the detections have masks."""
    has_keypoints: bool = False
    """Whether the losses need keypoints and the detections have keypoints."""
    mask_offset_px: float = 0.0
    """The offset of a mask from its box, to the right and down, in pixels of the resized image. A region that is pooled
    without alignment, as in torchvision, shows the image half a pixel to the right and below the region."""
    scale: float = 1.0
    """The detector's own pixels, in which its outputs are, for each pixel of the images that it is given."""

    @property
    def stages(self) -> tuple[FeatureLevel, ...]:
        """The maps of the backbone from which the first `levels` are made, in their order and of their strides."""
        return ()

    @abstractmethod
    def features(self, images: Tensor) -> list[Tensor]:
        """Compute the maps: (N, 3, H, W), normalised and padded, to (N, C, H / stride, W / stride) for each level."""

    def all_maps(self, images: Tensor) -> list[Tensor]:
        """Compute the maps (N, C, H / stride, W / stride) of `levels`, then those of `stages`, in one pass."""
        return self.features(images)

    @abstractmethod
    def predict(
        self, features: Sequence[Tensor], image_sizes: Sequence[tuple[int, int]], targets: Targets | None = None
    ) -> Out:
        """Run the heads; with targets, also assign objects and sample what the step trains on.

        PyTorch's global generator draws the samples; checkpoints hold its state.

        Args:
            features: for each level (N, C, H, W), from `features`.
            image_sizes: for each image (height, width) in pixels, before padding.
            targets: the objects of the same images; None for detection.
        """

    @abstractmethod
    def losses(self, out: Out, targets: Targets) -> dict[str, Tensor]:
        """Compute the terms of the task loss; the loss is their sum.

        Args:
            out: predicted with these targets.
        Returns:
            Name to scalar; finite even if no image has a box.
        """

    @abstractmethod
    def detect(self, out: Out, image_sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        """Detect the objects of each image, in pixels of the resized image and inside it.

        Args:
            out: predicted without targets. A two-stage detector proposes other regions with targets.
            image_sizes: for each image (height, width) in pixels, before padding.
        """

    @property
    def dense_head(self) -> DenseHead | None:
        """The head, if it predicts at every location and can be cut in two."""
        return None

    @property
    def region_head(self) -> RegionHead | None:
        """The head that processes given regions; of a cascade, that of its first stage."""
        return None


def num_parameters(detector: nn.Module) -> int:
    """Count all weights, trained or frozen."""
    return sum(parameter.numel() for parameter in detector.parameters())
