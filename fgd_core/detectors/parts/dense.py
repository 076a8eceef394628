"""Detects from predictions at every location of a pyramid."""

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from fgd_core.data.targets import Targets
from fgd_core.detectors.base import Detections
from fgd_core.detectors.parts.pyramid import PyramidDetector
from fgd_core.detectors.parts.selection import select_detections
from fgd_core.detectors.parts.towers import Tower, apply_tower, depth_of, finish_tower, start_tower
from fgd_core.outputs import DenseHead, DenseOutputs, Towers
from fgd_core.spec.detectors import BoxDetector

Dense = TypeVar("Dense", bound=DenseOutputs)


class DenseDetector(PyramidDetector[Dense]):
    """Detects from scored locations."""

    settings: BoxDetector

    @torch.no_grad()
    def detect(self, out: Dense, image_sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        """Detect the objects of each image from its best locations; shapes as of `DenseOutputs`.

        Args:
            image_sizes: for each image (height, width) in pixels, before padding.
        """
        scores, factors = self.scores(out), self.factors(out)
        return [
            select_detections(
                [level[image] for level in scores],
                partial(out.boxes_at, image),
                size,
                self.settings,
                factors=None if factors is None else [level[image] for level in factors],
            )
            for image, size in enumerate(image_sizes)
        ]

    def scores(self, out: Dense) -> Sequence[Tensor]:
        """Compute the scores that select the candidates: for each level (N, a, K) in [0, 1]."""
        return [level.float().sigmoid() for level in out.logits]

    def factors(self, out: Dense) -> Sequence[Tensor] | None:
        """Compute what multiplies the scores of the candidates: for each level (N, a) in [0, 1]; None if nothing."""
        return None


class TowerDetector(DenseDetector[Dense]):
    """Predicts with two towers, the same on all levels: one for classes and one for boxes."""

    @property
    @abstractmethod
    def towers(self) -> tuple[Tower, Tower]:
        """The convolutions before the predictors of classes and of boxes."""

    @abstractmethod
    def read(self, like: Sequence[Tensor], class_maps: Iterable[Tensor], box_maps: Iterable[Tensor]) -> Dense:
        """Run the predictors, without assignment.

        Args:
            like: for each level (N, C, H, W); only sizes and device are used.
            class_maps: for each level (N, C, H, W), behind the tower. An iterable, so that a map can be freed before
                the next is computed.
            box_maps: the same of the other tower.
        """

    @abstractmethod
    def assign(self, out: Dense, features: Sequence[Tensor], targets: Targets) -> Dense:
        """Add to outputs which location trains which object.

        Args:
            features: for each level (N, C, H, W); only sizes and device are used.
        """

    def predict(
        self, features: Sequence[Tensor], image_sizes: Sequence[tuple[int, int]], targets: Targets | None = None
    ) -> Dense:
        """Run the head; with targets, also assign objects to locations.

        Args:
            features: for each level (N, C, H, W).
        """
        classes, boxes = self.towers
        out = self.read(
            features,
            (apply_tower(classes, maps) for maps in features),
            (apply_tower(boxes, maps) for maps in features),
        )
        return out if targets is None else self.assign(out, features, targets)

    @property
    def dense_head(self) -> DenseHead:
        """The detector itself: it can be cut in two at any convolution of its towers."""
        return self

    @property
    def tower_depth(self) -> int:
        """The number of convolutions of each tower."""
        classes, _ = self.towers
        return depth_of(classes)

    def tower(self, pyramid: Sequence[Tensor], depth: int) -> Towers:
        """Run the first `depth` convolutions of both towers: for each level (N, C, H, W)."""
        classes, boxes = self.towers
        return Towers(
            [start_tower(classes, maps, depth) for maps in pyramid],
            [start_tower(boxes, maps, depth) for maps in pyramid],
        )

    def rest(self, towers: Towers, depth: int) -> Dense:
        """Run what follows `tower` of the same depth, on maps (N, C, H, W), without assignment."""
        classes, boxes = self.towers
        return self.read(
            towers.classes,
            (finish_tower(classes, maps, depth) for maps in towers.classes),
            (finish_tower(boxes, maps, depth) for maps in towers.boxes),
        )
