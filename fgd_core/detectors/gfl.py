"""Generalised Focal Loss (arXiv:2006.04388): scores include the box quality, and distances are distributions.

The head's parameter names, losses, assignment and decoding are those of mmdetection.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from fgd_core.boxes import boxes_around, distances_to_sides, giou_loss, paired_iou
from fgd_core.data.targets import Targets
from fgd_core.detectors.parts.assignment import count_positives, gather_positives
from fgd_core.detectors.parts.atss import Assignment, assign_atss
from fgd_core.detectors.parts.dense import TowerDetector
from fgd_core.detectors.parts.generalised_focal import (
    distribution_focal_loss,
    expected_distance,
    quality_focal_loss,
)
from fgd_core.detectors.parts.grid import corner_points, flatten_cells, grid_inside, grids_of, strides_of
from fgd_core.detectors.parts.norms import group_norm
from fgd_core.detectors.parts.pyramid import Pyramid
from fgd_core.detectors.parts.towers import Tower, conv_tower, init_head
from fgd_core.outputs import IGNORED, DistributionOutputs
from fgd_core.ranks import divisor
from fgd_core.spec import detectors as spec

_TOWER_DEPTH = 4
_BOX_WEIGHT = 2.0
_DISTRIBUTION_WEIGHT = 0.25


@dataclass(frozen=True, eq=False, kw_only=True)
class GflOutputs(DistributionOutputs):
    """Holds the outputs at all locations."""

    points: Sequence[Tensor]
    """For each level (a, 2) xy in pixels, the locations"""
    strides: Sequence[int]
    """Of the levels"""
    most_positives: int = 0
    """The largest number of locations that could have an object"""

    def boxes(self) -> Tensor:
        """Decode the box of every location: (N, A, 4)."""
        with torch.autocast(self.anchors.device.type, enabled=False):
            distances = torch.cat([expected_distance(level.float()) for level in self.distributions], dim=1)
            return boxes_around(torch.cat([*self.points]), distances * strides_of(self.points, self.strides))

    def boxes_at(self, image: int, level: int, locations: Tensor) -> Tensor:
        """Decode the boxes of locations (n,) of a level: (n, 4)."""
        distances = expected_distance(self.distributions[level][image, locations].float())
        return boxes_around(self.points[level][locations], distances * self.strides[level])


class Gfl(TowerDetector[GflOutputs]):
    """Detects boxes with one score for class and box quality."""

    settings: spec.Gfl

    def __init__(self, settings: spec.Gfl, num_classes: int) -> None:
        super().__init__()
        self.settings = settings
        self.num_classes = num_classes
        self.backbone = Pyramid(settings.backbone, width=settings.fpn_width, strides=(8, 16, 32), top="P5 without ReLU")
        self.levels = self.backbone.levels
        self.head = GflHead(settings.fpn_width, num_classes, settings.reg_max, len(self.levels))

    @property
    def towers(self) -> tuple[Tower, Tower]:
        """The convolutions before the predictors of classes and of boxes."""
        return self.head.cls_convs, self.head.reg_convs

    def read(self, like: Sequence[Tensor], class_maps: Iterable[Tensor], box_maps: Iterable[Tensor]) -> GflOutputs:
        """Run the predictors on the last maps (N, C, H, W) of the towers."""
        logits, distributions = self.head(class_maps, box_maps)
        points = self._points(like)
        return GflOutputs(
            logits=logits,
            grids=grids_of(like),
            distributions=distributions,
            anchors=torch.cat(self._anchors(points)),
            points=points,
            strides=[level.stride for level in self.levels],
        )

    def assign(self, out: GflOutputs, features: Sequence[Tensor], targets: Targets) -> GflOutputs:
        """Add the matches (N, A) of the locations, and the thresholds of the objects."""
        matches, thresholds, most = zip(
            *(self._match(out, boxes, size) for boxes, size in zip(targets.boxes, targets.image_sizes, strict=True)),
            strict=True,
        )
        return replace(out, matches=torch.stack(matches), thresholds=thresholds, most_positives=sum(most))

    def losses(self, out: GflOutputs, targets: Targets) -> dict[str, Tensor]:
        """Compute the terms of the loss: name to scalar."""
        matches = out.assigned
        positives = gather_positives(matches, targets, most=out.most_positives)
        with torch.autocast(matches.device.type, enabled=False):
            logits = torch.cat([*out.logits], dim=1).float()  # (N, A, K)
            distributions = torch.cat([*out.distributions], dim=1)[positives.image, positives.location].float()
            # (P, 4, bins)
            strides = strides_of(out.points, out.strides)[positives.location]  # (P, 1)
            centres = torch.cat([*out.points])[positives.location] / strides
            target = positives.boxes / strides
            predicted = boxes_around(centres, expected_distance(distributions))

            quality = torch.zeros_like(logits)
            reached = paired_iou(predicted.detach(), target).masked_fill(~positives.exist, 0)
            places = positives.image, positives.location, positives.labels
            # Added and not written: entries without an object may be of the location of another entry.
            quality.index_put_(places, reached, accumulate=True)
            focal = quality_focal_loss(logits, quality).sum(2).masked_fill(matches == IGNORED, 0)
            classification = focal.sum() / divisor(count_positives(matches))

            # The weight of a box is the score that selects it at detection.
            scores = logits.detach()[positives.image, positives.location].sigmoid().amax(1)  # (P,)
            weights = scores.masked_fill(~positives.exist, 0)
            share = weights / divisor(weights.sum())
            overlap = giou_loss(predicted, target)
            distances = distances_to_sides(centres, target).clamp(min=0, max=self.settings.reg_max - 0.1)
            bin_losses = distribution_focal_loss(distributions.flatten(0, 1), distances.flatten()).view(-1, 4).mean(1)
        return {
            "classification": classification,
            "box": _BOX_WEIGHT * (share * overlap).sum(),
            "distribution": _DISTRIBUTION_WEIGHT * (share * bin_losses).sum(),
        }

    def _points(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Return the locations of maps (N, C, H, W): for each level (H W, 2) xy in pixels."""
        return [corner_points(maps, level.stride) for maps, level in zip(features, self.levels, strict=True)]

    def _anchors(self, points: Sequence[Tensor]) -> list[Tensor]:
        """Return the square anchors around points (H W, 2): for each level (H W, 4) xyxy in pixels."""
        in_strides = self.settings.anchor_base_size_px / self.levels[0].stride
        half_sides = [in_strides * level.stride / 2 for level in self.levels]
        return [torch.cat([p - half, p + half], dim=1) for p, half in zip(points, half_sides, strict=True)]

    def _match(self, out: GflOutputs, boxes: Tensor, image_size: tuple[int, int]) -> Assignment:
        """Assign an object of (n, 4) to each location: its index, BACKGROUND, or IGNORED in the batch padding."""
        matches = torch.full((len(out.anchors),), IGNORED, device=boxes.device)
        sizes = [grid_inside(*each, image_size) for each in zip(out.grids, out.strides, strict=True)]
        inside, into = (
            [
                own.view(*grid, *own.shape[1:])[:rows, :columns]
                for own, grid, (rows, columns) in zip(levels, out.grids, sizes, strict=True)
            ]
            for levels in (out.anchors.split_with_sizes(out.counts), matches.split_with_sizes(out.counts))
        )
        assigned = assign_atss([level.flatten(0, 1) for level in inside], boxes.float())
        parts = assigned.matches.split_with_sizes([level.numel() for level in into])
        for level, own in zip(into, parts, strict=True):
            level.copy_(own.view(level.shape))
        return assigned._replace(matches=matches)


class GflHead(nn.Module):
    """Runs one tower for classes and one for distances on all levels; only the distance scale differs by level."""

    def __init__(self, width: int, num_classes: int, reg_max: int, num_levels: int) -> None:
        super().__init__()
        self.cls_convs = conv_tower(width, _TOWER_DEPTH, group_norm)
        self.reg_convs = conv_tower(width, _TOWER_DEPTH, group_norm)
        self.gfl_cls = nn.Conv2d(width, num_classes, 3, padding=1)
        self.gfl_reg = nn.Conv2d(width, 4 * (reg_max + 1), 3, padding=1)
        self.scales = nn.ModuleList(Scale() for _ in range(num_levels))
        init_head(self, width, classifier=self.gfl_cls)

    def forward(self, class_maps: Iterable[Tensor], box_maps: Iterable[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Predict classes and distance distributions at every location.

        Args:
            class_maps: for each level (N, C, H, W), behind the tower of the classes.
            box_maps: the same of the other tower.
        Returns:
            For each level the class logits (N, H W, K), and the logits of the distances in strides from the
            location to the left, top, right and bottom side (N, H W, 4, bins).
        """
        logits = [flatten_cells(self.gfl_cls(maps)) for maps in class_maps]
        distances = [
            flatten_cells(scale(self.gfl_reg(maps))) for scale, maps in zip(self.scales, box_maps, strict=True)
        ]
        return logits, [level.view(*level.shape[:2], 4, -1) for level in distances]


class Scale(nn.Module):
    """Multiplies by a learned factor."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, values: Tensor) -> Tensor:
        """Scale values of any shape (…)."""
        return values * self.scale
