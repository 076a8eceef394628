"""FCOS (arXiv:1904.01355, improved in arXiv:2006.09214) built from torchvision's parts.

Parameters, assignment and losses are those of torchvision's `fcos_resnet50_fpn`, so that its weights load. But
locations sit at the true strides, while torchvision's drift on P6 and P7 if the input is not divisible by 128. The
mmdetection convention differs where the code checks for it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection.fcos import FCOSClassificationHead, FCOSRegressionHead

from fgd_core.boxes import boxes_around, centres, distances_to_sides, giou_loss, paired_iou
from fgd_core.data.targets import Targets
from fgd_core.detectors.parts.assignment import objects_at
from fgd_core.detectors.parts.dense import TowerDetector
from fgd_core.detectors.parts.focal import focal_losses
from fgd_core.detectors.parts.grid import corner_points, flatten_cells, grids_of
from fgd_core.detectors.parts.norms import group_norm
from fgd_core.detectors.parts.pyramid import Pyramid
from fgd_core.detectors.parts.towers import Tower
from fgd_core.outputs import BACKGROUND, DenseOutputs
from fgd_core.ranks import divisor
from fgd_core.spec import detectors as spec

_TOWER_DEPTH = 4
_CENTRE_RADIUS = 1.5
_REACH = (4, 8)
"""The range, in strides, of the distance from a location to the farthest side of an object of its level."""
_LEAST_IOU = 1e-6


class Locations(NamedTuple):
    """Holds all P locations of a pyramid, level by level and row by row."""

    points: Tensor
    """(P, 2) xy in pixels"""
    strides: Tensor
    """(P,) in pixels"""
    nearest: Tensor
    farthest: Tensor
    """(P,) bounds, in pixels, of the distance to the farthest side of an object that the location may be assigned to"""

    @property
    def cells(self) -> Tensor:
        """Boxes around the locations, two strides wide: (P, 4) xyxy in pixels."""
        return boxes_around(self.points, self.strides[:, None].expand(-1, 4))


@dataclass(frozen=True, eq=False, kw_only=True)
class FcosOutputs(DenseOutputs):
    """Holds the outputs at all locations."""

    centreness: Sequence[Tensor]
    distances: Sequence[Tensor]
    """For each level (N, a, 4) to the left, top, right and bottom side"""
    units_px: Tensor
    """(A,) pixels for each unit of the distances"""
    locations: Locations

    def boxes(self) -> Tensor:
        """Decode the box of every location: (N, A, 4)."""
        distances = torch.cat([*self.distances], dim=1).float()
        return boxes_around(self.locations.points, distances * self.units_px[:, None])

    def boxes_at(self, image: int, level: int, locations: Tensor) -> Tensor:
        """Decode the boxes of locations (n,) of a level: (n, 4)."""
        distances = self.distances[level][image, locations].float()
        locations = locations + sum(self.counts[:level])
        return boxes_around(self.locations.points[locations], distances * self.units_px[locations][:, None])


class Fcos(TowerDetector[FcosOutputs]):
    """Detects boxes from the locations inside them, without anchors."""

    settings: spec.Fcos

    def __init__(self, settings: spec.Fcos, num_classes: int) -> None:
        super().__init__()
        self.settings = settings
        self.num_classes = num_classes
        self._follows_mmdetection = settings.convention == "mmdetection"
        self.backbone = Pyramid(settings.backbone, width=settings.fpn_width, strides=(8, 16, 32), top="P5")
        self.levels = self.backbone.levels
        self.head = FcosHead(settings, num_classes, len(self.levels))

    @property
    def towers(self) -> tuple[Tower, Tower]:
        """The convolutions before the predictors of classes and of boxes."""
        return self.head.classification_head.conv, self.head.regression_head.conv

    def read(self, like: Sequence[Tensor], class_maps: Iterable[Tensor], box_maps: Iterable[Tensor]) -> FcosOutputs:
        """Run the predictors on the last maps (N, C, H, W) of the towers."""
        logits, distances, centreness = self.head(class_maps, box_maps)
        locations = self._locations(like)
        return FcosOutputs(
            logits=logits,
            grids=grids_of(like),
            centreness=centreness,
            distances=distances,
            units_px=torch.ones_like(locations.strides) if self.settings.version == "v1" else locations.strides,
            locations=locations,
        )

    def assign(self, out: FcosOutputs, features: Sequence[Tensor], targets: Targets) -> FcosOutputs:
        """Add the matches of the locations of maps (N, C, H, W)."""
        return replace(out, matches=torch.stack([self._match(out.locations, boxes) for boxes in targets.boxes]))

    def losses(self, out: FcosOutputs, targets: Targets) -> dict[str, Tensor]:
        """Compute the terms of the loss: name to scalar."""
        points = out.locations.points
        objects = objects_at(out.assigned, targets, otherwise=out.locations.cells)
        nothing = ~objects.exist
        with torch.autocast(points.device.type, enabled=False):
            logits, distances, centreness = (
                torch.cat([*levels], dim=1).float() for levels in (out.logits, out.distances, out.centreness)
            )
            num_positives = divisor(objects.exist.sum().float())
            focal = focal_losses(logits, objects.classes).sum()
            target = centreness_of(distances_to_sides(points, objects.boxes)).masked_fill(nothing, 0)  # (N, A)
            centre = F.binary_cross_entropy_with_logits(centreness.squeeze(2), target, reduction="none")
            box = self._box_loss(boxes_around(points, distances * out.units_px[:, None]), objects.boxes)
            box = (box * self._box_weights(target, num_positives)).masked_fill(nothing, 0).sum()
            centre = centre.masked_fill(nothing, 0).sum()
        return {"classification": focal / num_positives, "box": box, "centreness": centre / num_positives}

    def scores(self, out: FcosOutputs) -> Sequence[Tensor]:
        """Compute the scores: for each level (N, a, K) in [0, 1]."""
        scores = super().scores(out)
        if self._follows_mmdetection:
            return scores
        return [
            (of_class * centre.float().sigmoid()).sqrt()
            for of_class, centre in zip(scores, out.centreness, strict=True)
        ]

    def factors(self, out: FcosOutputs) -> Sequence[Tensor] | None:
        """Return the centreness: for each level (N, a) in [0, 1]; None where it is part of the scores.

        mmdetection selects candidates by class score alone and ranks them by class score times centreness.
        """
        if not self._follows_mmdetection:
            return None
        return [level.float().sigmoid().squeeze(2) for level in out.centreness]

    def _locations(self, features: Sequence[Tensor]) -> Locations:
        """Return the locations of maps (N, C, H, W)."""
        points, strides, nearest, farthest = [], [], [], []
        last = len(self.levels) - 1
        for index, (maps, level) in enumerate(zip(features, self.levels, strict=True)):
            corners = corner_points(maps, level.stride)
            # mmdetection uses the middle of the cell, torchvision its corner.
            points.append(corners + (level.stride / 2 if self._follows_mmdetection else 0))
            strides.append(corners.new_full(corners.shape[:1], level.stride))
            nearest.append(corners.new_full(corners.shape[:1], _REACH[0] * level.stride if index > 0 else 0))
            farthest.append(
                corners.new_full(corners.shape[:1], _REACH[1] * level.stride if index < last else torch.inf)
            )
        return Locations(torch.cat(points), torch.cat(strides), torch.cat(nearest), torch.cat(farthest))

    def _match(self, locations: Locations, boxes: Tensor) -> Tensor:
        """Assign an object to each location: (P,) its index or BACKGROUND."""
        follows_paper = self.settings.version == "v1"
        return match_locations(
            locations,
            boxes.float(),
            centre_radius=None if follows_paper else _CENTRE_RADIUS,
            with_bounds=self._follows_mmdetection,
        )

    def _box_loss(self, predicted: Tensor, target: Tensor) -> Tensor:
        """Compute the box loss (N, A) of predicted boxes (N, A, 4) against target boxes (N, A, 4)."""
        if self.settings.version == "v1":
            return -paired_iou(predicted, target).clamp(min=_LEAST_IOU).log()
        return giou_loss(predicted, target)

    def _box_weights(self, centreness: Tensor, num_positives: Tensor) -> Tensor:
        """Weigh the loss of boxes of a centreness (N, A), all together with a weight () or each: (N, A).

        In mmdetection boxes near the middle of the object get more weight.
        """
        if self._follows_mmdetection:
            return centreness / divisor(centreness.sum(), least=_LEAST_IOU)
        return 1 / num_positives


class FcosHead(nn.Module):
    """Runs torchvision's two towers and three outputs; the mmdetection convention adds a learned scale a level."""

    def __init__(self, settings: spec.Fcos, num_classes: int, num_levels: int) -> None:
        super().__init__()
        width = settings.fpn_width
        self.classification_head = FCOSClassificationHead(width, 1, num_classes, _TOWER_DEPTH, norm_layer=group_norm)
        self.regression_head = FCOSRegressionHead(width, 1, _TOWER_DEPTH, norm_layer=group_norm)
        self.scales = nn.ParameterList(
            torch.tensor(1.0) for _ in range(num_levels if settings.convention == "mmdetection" else 0)
        )
        self._is_first_version = settings.version == "v1"
        self._centreness_side = settings.centreness_side
        if self._is_first_version:
            for tower in (self.classification_head.conv, self.regression_head.conv):
                _drop_biases(tower)

    def forward(
        self, class_maps: Iterable[Tensor], box_maps: Iterable[Tensor]
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Predict classes, distances and centreness at every location.

        Args:
            class_maps: for each level (N, C, H, W), behind the tower of the classes.
            box_maps: the same of the other tower.
        Returns:
            For each level the class logits (N, H W, K), the distances to the left, top, right and bottom side
            (N, H W, 4), in pixels in the first version and in strides in the second, and the centreness logits
            (N, H W, 1).
        """
        logits, distances, centreness = [], [], []
        for index, (class_map, box_map) in enumerate(zip(class_maps, box_maps, strict=True)):
            logits.append(flatten_cells(self.classification_head.cls_logits(class_map)))
            raw = flatten_cells(self.regression_head.bbox_reg(box_map)).float()
            if len(self.scales):
                raw = raw * self.scales[index]
            distances.append(raw.exp() if self._is_first_version else raw.relu())
            tower = class_map if self._centreness_side == "classes" else box_map
            centreness.append(flatten_cells(self.regression_head.bbox_ctrness(tower)))
        return logits, distances, centreness


def match_locations(locations: Locations, boxes: Tensor, *, centre_radius: float | None, with_bounds: bool) -> Tensor:
    """Assign to each location the smallest object that it lies in and that belongs to its level.

    Args:
        boxes: (n, 4) xyxy in pixels; n may be 0.
        centre_radius: strides from the centre of an object to its farthest locations along each axis; None: all of it.
        with_bounds: whether the range of a level includes its two bounds.
    Returns:
        (P,) int64, the index of the box, or BACKGROUND.
    """
    if len(boxes) == 0:
        return torch.full((len(locations.points),), BACKGROUND, device=locations.points.device)
    distances = distances_to_sides(locations.points[:, None], boxes)  # (P, n, 4)
    is_candidate = distances.amin(2) > 0
    if centre_radius is not None:
        offset = (locations.points[:, None] - centres(boxes)).abs().amax(2)  # (P, n)
        is_candidate &= offset < centre_radius * locations.strides[:, None]
    reach, nearest, farthest = distances.amax(2), locations.nearest[:, None], locations.farthest[:, None]
    if with_bounds:
        is_candidate &= (reach >= nearest) & (reach <= farthest)
    else:
        is_candidate &= (reach > nearest) & (reach < farthest)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    least, index = areas.expand_as(reach).masked_fill(~is_candidate, torch.inf).min(1)
    return index.masked_fill(least.isinf(), BACKGROUND)


def centreness_of(distances: Tensor) -> Tensor:
    """Compute the centreness (…,) in [0, 1] from distances (…, 4): 1 in the middle of a box, 0 on its border.

    Source: equation 3 of arXiv:1904.01355.
    """
    smaller = torch.minimum(distances[..., :2], distances[..., 2:])
    larger = torch.maximum(distances[..., :2], distances[..., 2:])
    return (smaller / larger).prod(-1).sqrt()


def _drop_biases(tower: nn.Sequential) -> None:
    for layer in tower:
        if isinstance(layer, nn.Conv2d):
            layer.bias = None
