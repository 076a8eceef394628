"""What a detector shows of itself: the types that detectors produce and distillation methods read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from torch import Tensor

from fgd_core.data.targets import Targets

BACKGROUND = -1
IGNORED = -2
"""The match of a location without an object: BACKGROUND trains the background, IGNORED does not train. The numbers are
those of torchvision's `Matcher`. The match of a location with an object is the object's index, >= 0."""


class FeatureLevel(NamedTuple):
    """Describes one map of a pyramid."""

    name: str
    stride: int
    """Pixels of the input per cell."""
    channels: int
    is_derived: bool = False
    """Whether the map only subsamples the level below, so it adds no information."""
    is_frozen: bool = False
    """Whether nothing that computes the map trains."""


@dataclass(frozen=True, eq=False, kw_only=True)
class DenseOutputs:
    """Holds the outputs of a head that predicts at every anchor of a pyramid; boxes are in the detector's own pixels.

    A detector without anchors has one location for each cell, and the location counts as its anchor. In all shapes
    a = H W `anchors_per_cell` is the number of anchors of a level, in the order of rows, cells of a row, anchors of a
    cell; A is the number of anchors of all levels, fine to coarse. Outputs have gradients if the head has.
    """

    logits: Sequence[Tensor]
    """For each level (N, a, K) logits of the classes, for a sigmoid."""
    grids: Sequence[tuple[int, int]]
    """For each level (H, W) in cells."""
    anchors_per_cell: int = 1
    matches: Tensor | None = None
    """(N, A) int64, the index of the anchor's object in its image, BACKGROUND or IGNORED; None if predicted without
    targets."""
    centreness: Sequence[Tensor] | None = None
    """For each level (N, a, 1) logits of how central the location is in its object; None if the head has none."""

    @property
    def counts(self) -> list[int]:
        """The number of anchors of each level."""
        return [height * width * self.anchors_per_cell for height, width in self.grids]

    @property
    def assigned(self) -> Tensor:
        """The `matches` (N, A) of outputs that were predicted with targets."""
        assert self.matches is not None, "these outputs were predicted without targets"
        return self.matches

    def boxes(self) -> Tensor:
        """Decode the box of every anchor: (N, A, 4) float32 xyxy in pixels, not clipped to the image."""
        raise NotImplementedError

    def boxes_at(self, image: int, level: int, locations: Tensor) -> Tensor:
        """Decode the boxes of some anchors of one level of one image.

        Args:
            locations: (n,) indices of anchors, from 0 to a - 1.
        Returns:
            (n, 4) float32 xyxy in pixels, not clipped to the image.
        """
        raise NotImplementedError

    def logit_maps(self) -> list[Tensor]:
        """Arrange the logits as maps: for each level (N, C, H, W), with C = anchors_per_cell K: all classes of the
        first anchor, then of the next."""
        return [
            logits.reshape(len(logits), *grid, -1).permute(0, 3, 1, 2)
            for logits, grid in zip(self.logits, self.grids, strict=True)
        ]


@dataclass(frozen=True, eq=False, kw_only=True)
class DistributionOutputs(DenseOutputs):
    """Holds outputs in which the distance to each side of a box is a distribution, and how ATSS assigned the objects
    (arXiv:1912.02424)."""

    distributions: Sequence[Tensor]
    """For each level (N, a, 4, bins) logits of the distance from the location to the left, top, right and bottom
    side, in strides: bin i is the distance i."""
    anchors: Tensor
    """(A, 4) xyxy in pixels, the anchors that decide which location trains which object."""
    thresholds: Sequence[Tensor] | None = None
    """For each image (n,), the least IoU of an anchor that trains the object: mean plus standard deviation of the
    object's candidates; None if predicted without targets."""


class Towers(NamedTuple):
    """Holds the maps inside the two branches of a dense head, after the same number of convolutions in each."""

    classes: Sequence[Tensor]
    """For each level (N, C, H, W), after a convolution and its norm, before its activation."""
    boxes: Sequence[Tensor]
    """The same of the branch that predicts boxes."""


class DenseHead(Protocol):
    """A dense head that can be cut in two: `rest(tower(pyramid, depth), depth)` are the outputs of the head, bit by
    bit."""

    @property
    def tower_depth(self) -> int:
        """The number of convolutions of each branch before its predictors, the largest possible depth."""
        ...

    def tower(self, pyramid: Sequence[Tensor], depth: int) -> Towers:
        """Run the first `depth` convolutions of both branches.

        Args:
            pyramid: for each level (N, C, H, W).
            depth: from 1 to `tower_depth`.
        Returns:
            The maps after the norm of the last of these convolutions, before its activation.
        """
        ...

    def rest(self, towers: Towers, depth: int) -> DenseOutputs:
        """Run what follows: the activation, the remaining convolutions and the predictors.

        Args:
            towers: for each level (N, C, H, W), as `tower` returns them; not changed.
            depth: the number of convolutions that are done.
        """
        ...


class Regions(NamedTuple):
    """Holds the boxes sampled for training; one entry an image."""

    boxes: list[Tensor]
    """(n, 4) xyxy in pixels"""
    labels: list[Tensor]
    """(n,) 0 is the background"""
    objects: list[Tensor]
    """(n,) index of the matched object of the image; negative for background"""
    is_ground_truth: list[Tensor]
    """(n,) whether the box is the true box of an object and not a proposal"""
    with_object: list[Tensor]
    """(p,) int64, the indices of the boxes that have an object, lowest first"""

    def on_objects(self, values: Sequence[Tensor]) -> list[Tensor]:
        """Select what belongs to the boxes that have an object: for each image (n, …) to (p, …)."""
        return [own[chosen] for own, chosen in zip(values, self.with_object, strict=True)]


class RegionReading(NamedTuple):
    """Holds the outputs of a region head for n boxes, image by image."""

    pooled: Tensor
    """(n, C, 7, 7) the features of the box from the level of its size; under autocast in its type"""
    vectors: Tensor
    """(n, D) the last hidden layer; under autocast in its type"""
    logits: Tensor
    """(n, 1 + K) float32 logits of the classes, for a softmax, background first"""
    deltas: Tensor
    """(n, columns, 4) float32, corrections of the box; `decode` and `class_columns` of the head interpret them"""


@dataclass(frozen=True, eq=False, kw_only=True)
class RegionOutputs:
    """Holds the outputs of a detector that proposes regions, in its own pixels. In a cascade `regions` and `reading`
    are of the first stage."""

    proposals: Sequence[Tensor]
    """For each image (n, 4) xyxy in pixels, without gradient, highest score first."""
    regions: Regions | None = None
    """The sample of proposals and true boxes that the step trains on; None if predicted without targets."""
    reading: RegionReading | None = None
    """What the region head predicts for `regions`; None if predicted without targets."""


class RegionHead(Protocol):
    """The head that classifies and refines given boxes; in a cascade, that of the first stage."""

    @property
    def vector_size(self) -> int:
        """Length of the last hidden vector of a region."""
        ...

    @property
    def pools_aligned(self) -> bool:
        """Whether it pools regions with aligned pixel centres, the `aligned` of `fgd_core.roi_align`."""
        ...

    def sample(self, proposals: Sequence[Tensor], targets: Targets) -> Regions:
        """Sample boxes to train on with PyTorch's global generator: up to `rois_per_image` of each image, of which at
        most a quarter are matched to an object. The true boxes are added to the candidates.

        Args:
            proposals: for each image (n, 4) xyxy in pixels.
        """
        ...

    def on(self, maps: Sequence[Tensor], boxes: Sequence[Tensor]) -> RegionReading:
        """Run the head on given boxes.

        Args:
            maps: for each level (N, C, H, W), of the detector's own pyramid.
            boxes: for each image (n, 4) float32 xyxy in the detector's own pixels.
        """
        ...

    def decode(self, deltas: Tensor, boxes: Sequence[Tensor]) -> list[Tensor]:
        """Apply deltas (n, columns, 4) to the boxes (n, 4) of all images: for each image (n, columns, 4) xyxy in
        pixels, not clipped."""
        ...

    def class_columns(self, columns: Tensor) -> Tensor:
        """Convert (n, columns, …) to (n, K, …): drop the background's column, or repeat a column for all classes."""
        ...
