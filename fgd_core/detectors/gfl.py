"""Generalised Focal Loss (arXiv:2006.04388): scores include the box quality, and distances are distributions.

The head's parameter names, losses, assignment and decoding are those of mmdetection.
"""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torchvision.ops import generalized_box_iou_loss

from fgd_core.data.targets import Targets
from fgd_core.detectors.base import Detections
from fgd_core.detectors.parts.assignment import IGNORED, count_positives, gather_positives, mean_over_ranks
from fgd_core.detectors.parts.atss import atss_matches
from fgd_core.detectors.parts.boxes import boxes_around, distances_to_sides, paired_iou
from fgd_core.detectors.parts.generalised_focal import (
    distribution_focal_loss,
    expected_distance,
    quality_focal_loss,
)
from fgd_core.detectors.parts.grid import corner_points, flatten_cells, is_batch_padding
from fgd_core.detectors.parts.norms import group_norm
from fgd_core.detectors.parts.pyramid import Pyramid, PyramidDetector
from fgd_core.detectors.parts.selection import select_detections
from fgd_core.detectors.parts.towers import apply_tower, conv_tower, init_head
from fgd_core.spec import detectors as spec

_TOWER_DEPTH = 4
_BOX_WEIGHT = 2.0
_DISTRIBUTION_WEIGHT = 0.25


class Gfl(PyramidDetector):
    """Detects boxes with one score for class and box quality."""

    def __init__(self, settings: spec.Gfl, num_classes: int) -> None:
        super().__init__()
        self.settings = settings
        self.num_classes = num_classes
        self.backbone = Pyramid(settings.backbone, width=settings.fpn_width, strides=(8, 16, 32), top="P5 without ReLU")
        self.levels = self.backbone.levels
        self.head = GflHead(settings.fpn_width, num_classes, settings.reg_max, len(self.levels))

    def losses(self, features: Sequence[Tensor], targets: Targets) -> dict[str, Tensor]:
        """Compute the terms of the loss.

        Args:
            features: for each level (N, C, H, W).
        """
        level_logits, level_distributions = self.head(features)
        points = self._points(features)
        matches = torch.stack(
            [self._match(points, b, size) for b, size in zip(targets.boxes, targets.image_sizes, strict=True)]
        )  # (N, A)
        positives = gather_positives(matches, targets)
        with torch.autocast(matches.device.type, enabled=False):
            logits = torch.cat(level_logits, dim=1).float()  # (N, A, K)
            distributions = torch.cat(level_distributions, dim=1)[positives.image, positives.location].float()
            # (P, 4, bins)
            strides = torch.cat([p.new_full((len(p), 1), s.stride) for p, s in zip(points, self.levels, strict=True)])
            strides = strides[positives.location]  # (P, 1)
            centres = torch.cat(points)[positives.location] / strides
            target = positives.boxes / strides
            predicted = boxes_around(centres, expected_distance(distributions))

            quality = torch.zeros_like(logits)
            quality[positives.image, positives.location, positives.labels] = paired_iou(predicted.detach(), target)
            focal = quality_focal_loss(logits, quality).sum(2).masked_fill(matches == IGNORED, 0)
            classification = focal.sum() / mean_over_ranks(count_positives(matches)).clamp(min=1)

            # The weight of a box is the score that selects it at detection.
            weights = logits.detach()[positives.image, positives.location].sigmoid().amax(1)  # (P,)
            share = weights / mean_over_ranks(weights.sum()).clamp(min=1)
            overlap = generalized_box_iou_loss(predicted, target)
            distances = distances_to_sides(centres, target).clamp(min=0, max=self.settings.reg_max - 0.1)
            bin_losses = distribution_focal_loss(distributions.flatten(0, 1), distances.flatten()).view(-1, 4).mean(1)
        return {
            "classification": classification,
            "box": _BOX_WEIGHT * (share * overlap).sum(),
            "distribution": _DISTRIBUTION_WEIGHT * (share * bin_losses).sum(),
        }

    @torch.no_grad()
    def detect(self, features: Sequence[Tensor], image_sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        """Detect the objects of each image.

        Args:
            features: for each level (N, C, H, W).
            image_sizes: for each image (height, width) in pixels, before padding.
        """
        logits, distributions = self.head(features)
        scores = [level.float().sigmoid() for level in logits]
        points = self._points(features)

        def decode(image: int, level: int, locations: Tensor) -> Tensor:
            distances = expected_distance(distributions[level][image, locations].float())
            return boxes_around(points[level][locations], distances * self.levels[level].stride)

        return [
            select_detections([level[image] for level in scores], partial(decode, image), size, self.settings)
            for image, size in enumerate(image_sizes)
        ]

    def _points(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Return the locations of maps (N, C, H, W): for each level (H W, 2) xy in pixels."""
        return [corner_points(maps, level.stride) for maps, level in zip(features, self.levels, strict=True)]

    def _match(self, points: Sequence[Tensor], boxes: Tensor, image_size: tuple[int, int]) -> Tensor:
        """Assign an object to each location: (A,) its index, BACKGROUND, or IGNORED in the batch padding."""
        in_strides = self.settings.anchor_base_size_px / self.levels[0].stride
        half_sides = [in_strides * level.stride / 2 for level in self.levels]
        anchors = [torch.cat([p - half, p + half], dim=1) for p, half in zip(points, half_sides, strict=True)]
        is_inside = [~is_batch_padding(level, image_size) for level in points]
        matches = torch.full((sum(map(len, points)),), IGNORED, device=boxes.device)
        matches[torch.cat(is_inside)] = atss_matches(
            [level[inside] for level, inside in zip(anchors, is_inside, strict=True)], boxes.float()
        )
        return matches


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

    def forward(self, features: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Predict classes and distance distributions at every location.

        Args:
            features: for each level (N, C, H, W).
        Returns:
            For each level the class logits (N, H W, K), and the logits of the distances in strides from the
            location to the left, top, right and bottom side (N, H W, 4, bins).
        """
        logits = [flatten_cells(self.gfl_cls(apply_tower(self.cls_convs, maps))) for maps in features]
        distances = [
            flatten_cells(scale(self.gfl_reg(apply_tower(self.reg_convs, maps))))
            for scale, maps in zip(self.scales, features, strict=True)
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
