"""RepPoints (arXiv:1904.11490): an object is a set of points, found in two stages; the second looks where the first
put them.

Parameters of the head are named as mmdetection's, and losses, assignment and decoding are as there.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import relu, smooth_l1_loss
from torchvision.ops import box_iou, sigmoid_focal_loss

from fgd_core.data.targets import Targets
from fgd_core.detectors.base import Detections, Detector
from fgd_core.detectors.parts.assignment import (
    BACKGROUND,
    IGNORED,
    EveryBoxMatcher,
    Positives,
    count_positives,
    gather_positives,
    mean_over_ranks,
)
from fgd_core.detectors.parts.deformable import DeformConv2d
from fgd_core.detectors.parts.grid import corner_points, flatten_cells, is_batch_padding
from fgd_core.detectors.parts.late_norm import LateNormPyramid
from fgd_core.detectors.parts.nearest_point import nearest_point_matches
from fgd_core.detectors.parts.norms import group_norm
from fgd_core.detectors.parts.point_sets import kernel_grid, moment_box
from fgd_core.detectors.parts.pyramid import Pyramid
from fgd_core.detectors.parts.selection import select_detections
from fgd_core.detectors.parts.towers import apply_tower, conv_tower, init_head
from fgd_core.spec import detectors as spec

_TOWER_DEPTH = 3
_KERNEL = 3
_NUM_POINTS = _KERNEL**2
_GRADIENT_THROUGH_POINTS = 0.1
"""How much of its gradient the second stage passes to the points of the first."""
_BOX_UNIT_IN_STRIDES = 4
_BETA = 0.11
_FIRST_BOX_WEIGHT, _BOX_WEIGHT = 0.5, 1.0


class RepPoints(Detector):
    def __init__(self, settings: spec.RepPoints, num_classes: int) -> None:
        super().__init__()
        self.settings = settings
        self.num_classes = num_classes
        strides, width = (8, 16, 32), settings.fpn_width
        self.backbone = (
            LateNormPyramid(settings.backbone, width=width, strides=strides, norm=group_norm)
            if settings.norm == "group"
            else Pyramid(settings.backbone, width=width, strides=strides, top="C5 without ReLU")
        )
        self.levels = self.backbone.levels
        self.head = RepPointsHead(width, num_classes, has_norm=settings.norm == "group")
        self._matcher = EveryBoxMatcher(0.5, 0.4)

    def features(self, images: Tensor) -> list[Tensor]:
        """The maps before the norm of the pyramid's last convolutions, where there is one: see `LateNormPyramid`."""
        return self.backbone.maps(images)

    def losses(self, features: Sequence[Tensor], targets: Targets) -> dict[str, Tensor]:
        outputs = self._outputs(features)
        with torch.autocast(features[0].device.type, enabled=False):
            logits, first, refined = (torch.cat(levels, dim=1) for levels in zip(*outputs, strict=True))
            points = self._points(features)
            strides = torch.cat([p.new_full((len(p), 1), s.stride) for p, s in zip(points, self.levels, strict=True)])
            first_boxes = self._boxes(first, torch.cat(points), strides)  # (N, A, 4)
            started = self._start(points, targets)  # (N, A)
            matches = self._match(first_boxes.detach(), torch.cat(points), targets)  # (N, A)

            found = gather_positives(matches, targets)
            is_there = torch.zeros_like(logits)
            is_there[found.image, found.location, found.labels] = 1
            focal = sigmoid_focal_loss(logits, is_there, alpha=0.25, gamma=2.0).sum(2)
            num_positives = mean_over_ranks(count_positives(matches)).clamp(min=1)
            classification = focal.masked_fill(matches == IGNORED, 0).sum() / num_positives

            first_distance = _distance(first_boxes, gather_positives(started, targets), strides)
            num_started = mean_over_ranks(count_positives(started)).clamp(min=1)
            boxes = self._boxes(refined, torch.cat(points), strides)
            distance = _distance(boxes, found, strides)
        return {
            "classification": classification,
            "first_box": _FIRST_BOX_WEIGHT * first_distance / num_started,
            "box": _BOX_WEIGHT * distance / num_positives,
        }

    @torch.no_grad()
    def detect(self, features: Sequence[Tensor], image_sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        outputs = self._outputs(features)
        scores = [level.logits.sigmoid() for level in outputs]
        points = self._points(features)

        def decode(image: int, level: int, locations: Tensor) -> Tensor:
            stride = points[level].new_tensor(self.levels[level].stride)
            return self._boxes(outputs[level].refined[image, locations], points[level][locations], stride)

        return [
            select_detections([level[image] for level in scores], partial(decode, image), size, self.settings)
            for image, size in enumerate(image_sizes)
        ]

    def _outputs(self, features: Sequence[Tensor]) -> list["LevelOutputs"]:
        maps = self.backbone.normed(features) if isinstance(self.backbone, LateNormPyramid) else features
        return [self.head(level) for level in maps]

    def _points(self, features: Sequence[Tensor]) -> list[Tensor]:
        return [corner_points(maps, level.stride) for maps, level in zip(features, self.levels, strict=True)]

    def _boxes(self, point_sets: Tensor, points: Tensor, strides: Tensor) -> Tensor:
        """(..., A, 9, 2) in cells around (A, 2) points to (..., A, 4) xyxy in pixels."""
        return points.repeat(1, 2) + moment_box(point_sets, self.head.moment_transfer) * strides

    def _start(self, points: Sequence[Tensor], targets: Targets) -> Tensor:
        """(N, A) the object that each location starts from, by where the locations are."""
        strides = [level.stride for level in self.levels]
        matches = []
        for boxes, image_size in zip(targets.boxes, targets.image_sizes, strict=True):
            beyond = [is_batch_padding(level, image_size) for level in points]
            inside = [level[~out] for level, out in zip(points, beyond, strict=True)]
            of_image = torch.full((sum(map(len, points)),), IGNORED, device=boxes.device)
            of_image[~torch.cat(beyond)] = nearest_point_matches(inside, strides, boxes.float())
            matches.append(of_image)
        return torch.stack(matches)

    def _match(self, first_boxes: Tensor, points: Tensor, targets: Targets) -> Tensor:
        """(N, A) the object that each location is to tell, by the overlap of its first box."""
        matches = []
        for found, boxes, image_size in zip(first_boxes, targets.boxes, targets.image_sizes, strict=True):
            beyond = is_batch_padding(points, image_size)
            of_image = torch.full((len(points),), BACKGROUND, device=points.device)
            if len(boxes) > 0:
                of_image = self._matcher(box_iou(boxes.float(), found).masked_fill(beyond, 0))
            matches.append(of_image.masked_fill(beyond, IGNORED))
        return torch.stack(matches)


class LevelOutputs(NamedTuple):
    """Of the A locations of a level, in float32."""

    logits: Tensor
    """(N, A, K)"""
    first: Tensor
    """(N, A, 9, 2) the points of the first stage: (dy, dx) in cells from the location"""
    refined: Tensor
    """(N, A, 9, 2) those of the second"""


class RepPointsHead(nn.Module):
    """One tower for classes and one for points, the same on all levels."""

    def __init__(self, width: int, num_classes: int, *, has_norm: bool) -> None:
        super().__init__()
        norm = group_norm if has_norm else None
        self.cls_convs = conv_tower(width, _TOWER_DEPTH, norm)
        self.reg_convs = conv_tower(width, _TOWER_DEPTH, norm)
        self.reppoints_cls_conv = DeformConv2d(width, width, _KERNEL, padding=_KERNEL // 2, bias=False)
        self.reppoints_cls_out = nn.Conv2d(width, num_classes, 1)
        self.reppoints_pts_init_conv = nn.Conv2d(width, width, 3, padding=1)
        self.reppoints_pts_init_out = nn.Conv2d(width, 2 * _NUM_POINTS, 1)
        self.reppoints_pts_refine_conv = DeformConv2d(width, width, _KERNEL, padding=_KERNEL // 2, bias=False)
        self.reppoints_pts_refine_out = nn.Conv2d(width, 2 * _NUM_POINTS, 1)
        self.moment_transfer = nn.Parameter(torch.zeros(2))
        init_head(self, width, classifier=self.reppoints_cls_out)

    def forward(self, features: Tensor) -> LevelOutputs:
        """(N, C, H, W) of one level."""
        of_classes, of_points = apply_tower(self.cls_convs, features), apply_tower(self.reg_convs, features)
        first = _exact(self.reppoints_pts_init_out, relu(self.reppoints_pts_init_conv(of_points)))  # (N, 18, H, W)
        fixed = first.detach()
        looks_at = _GRADIENT_THROUGH_POINTS * first + (1 - _GRADIENT_THROUGH_POINTS) * fixed
        offsets = looks_at - kernel_grid(_KERNEL, first.device).view(1, -1, 1, 1)
        logits = self.reppoints_cls_out(relu(self.reppoints_cls_conv(of_classes, offsets)))
        moved = _exact(self.reppoints_pts_refine_out, relu(self.reppoints_pts_refine_conv(of_points, offsets)))
        return LevelOutputs(flatten_cells(logits).float(), _point_sets(first), _point_sets(moved + fixed))


def _exact(layer: nn.Conv2d, features: Tensor) -> Tensor:
    """In float32 also under autocast: a point that is 30 cells away has no eighth of a cell left in bfloat16."""
    with torch.autocast(features.device.type, enabled=False):
        output: Tensor = layer(features.float())
    return output


def _point_sets(maps: Tensor) -> Tensor:
    """(N, 18, H, W) to (N, H W, 9, 2)."""
    return flatten_cells(maps).reshape(len(maps), -1, _NUM_POINTS, 2)


def _distance(boxes: Tensor, found: Positives, strides: Tensor) -> Tensor:
    """The summed smooth L1 distance between the boxes of locations and their objects, in four strides of the location.

    Args:
        boxes: (N, A, 4).
        strides: (A, 1).
    """
    unit = _BOX_UNIT_IN_STRIDES * strides[found.location]
    at_locations = boxes[found.image, found.location]
    return smooth_l1_loss(at_locations / unit, found.boxes / unit, beta=_BETA, reduction="sum")
