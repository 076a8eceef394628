"""RepPoints (arXiv:1904.11490): an object is a set of points, and a second stage refines the points of the first.

The head's parameter names, losses, assignment and decoding are those of mmdetection.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import relu, smooth_l1_loss
from torchvision.ops import box_iou

from fgd_core.data.targets import Targets
from fgd_core.detectors.parts.assignment import (
    EveryBoxMatcher,
    Positives,
    classes_at,
    count_positives,
    gather_positives,
)
from fgd_core.detectors.parts.deformable import DeformConv2d
from fgd_core.detectors.parts.dense import DenseDetector
from fgd_core.detectors.parts.focal import focal_losses
from fgd_core.detectors.parts.grid import corner_points, flatten_cells, grids_of, is_batch_padding, strides_of
from fgd_core.detectors.parts.late_norm import LateNormPyramid
from fgd_core.detectors.parts.nearest_point import nearest_point_matches
from fgd_core.detectors.parts.norms import group_norm
from fgd_core.detectors.parts.point_sets import kernel_grid, moment_box
from fgd_core.detectors.parts.pyramid import Pyramid
from fgd_core.detectors.parts.towers import apply_tower, conv_tower, init_head
from fgd_core.outputs import BACKGROUND, IGNORED, DenseOutputs
from fgd_core.ranks import divisor
from fgd_core.spec import detectors as spec

_TOWER_DEPTH = 3
_KERNEL = 3
_NUM_POINTS = _KERNEL**2
_GRADIENT_THROUGH_POINTS = 0.1
"""The share of its gradient that the second stage passes to the points of the first."""
_BOX_UNIT_IN_STRIDES = 4
_BETA = 0.11
_FIRST_BOX_WEIGHT, _BOX_WEIGHT = 0.5, 1.0


class FirstStage(NamedTuple):
    """Holds what the first stage trains on."""

    boxes: Tensor
    """(N, A, 4) xyxy in pixels"""
    matches: Tensor
    """(N, A) the index of the object or BACKGROUND or IGNORED"""


@dataclass(frozen=True, eq=False, kw_only=True)
class RepPointsOutputs(DenseOutputs):
    """Holds the outputs at all locations, in float32; `matches` and `boxes` are of the second stage."""

    first: Sequence[Tensor]
    """For each level (N, a, 9, 2) points of the first stage: (dy, dx) in cells from the location"""
    refined: Sequence[Tensor]
    """For each level (N, a, 9, 2) points of the second stage, in the same form"""
    points: Sequence[Tensor]
    """For each level (a, 2) xy in pixels, the locations"""
    strides: Sequence[int]
    """Of the levels"""
    moment_transfer: Tensor
    """(2,) see `moment_box`"""
    first_stage: FirstStage | None = None
    """None if predicted without targets"""

    def decoded(self, point_sets: Tensor) -> Tensor:
        """Convert point sets (N, A, 9, 2) of all locations to boxes (N, A, 4) xyxy in pixels."""
        return self._boxes_of(point_sets, torch.cat([*self.points]), strides_of(self.points, self.strides))

    def boxes(self) -> Tensor:
        """Decode the box of every location: (N, A, 4)."""
        return self.decoded(torch.cat([*self.refined], dim=1))

    def boxes_at(self, image: int, level: int, locations: Tensor) -> Tensor:
        """Decode the boxes of locations (n,) of a level: (n, 4)."""
        points = self.points[level]
        stride = points.new_tensor(self.strides[level])
        return self._boxes_of(self.refined[level][image, locations], points[locations], stride)

    def _boxes_of(self, point_sets: Tensor, points: Tensor, strides: Tensor) -> Tensor:
        """Convert point sets (..., A, 9, 2) in cells around points (A, 2) to boxes (..., A, 4) xyxy in pixels."""
        return points.repeat(1, 2) + moment_box(point_sets, self.moment_transfer) * strides


class RepPoints(DenseDetector[RepPointsOutputs]):
    """Detects boxes from point sets."""

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
        """Compute the maps: (N, 3, H, W) to (N, C, H / stride, W / stride) for each level.

        In a pyramid with norms, these are the maps before the last norm: see `LateNormPyramid`.
        """
        return self.backbone.maps(images)

    def predict(
        self, features: Sequence[Tensor], image_sizes: Sequence[tuple[int, int]], targets: Targets | None = None
    ) -> RepPointsOutputs:
        """Run the head; with targets, also assign objects to the locations, once for each stage.

        Args:
            features: for each level (N, C, H, W).
        """
        maps = self.backbone.normed(features) if isinstance(self.backbone, LateNormPyramid) else features
        logits, first, refined = zip(*(self.head(level) for level in maps), strict=True)
        out = RepPointsOutputs(
            logits=logits,
            grids=grids_of(features),
            first=first,
            refined=refined,
            points=self._points(features),
            strides=[level.stride for level in self.levels],
            moment_transfer=self.head.moment_transfer,
        )
        return out if targets is None else self._assigned(out, targets)

    def losses(self, out: RepPointsOutputs, targets: Targets) -> dict[str, Tensor]:
        """Compute the terms of the loss: name to scalar."""
        matches, first = out.assigned, out.first_stage
        assert first is not None
        with torch.autocast(matches.device.type, enabled=False):
            strides = strides_of(out.points, out.strides)
            logits = torch.cat([*out.logits], dim=1)
            positives = gather_positives(matches, targets)
            focal = focal_losses(logits, classes_at(matches, targets))
            num_positives = divisor(count_positives(matches))
            classification = focal.sum() / num_positives

            first_loss = _box_loss(first.boxes, gather_positives(first.matches, targets), strides)
            num_first = divisor(count_positives(first.matches))
            box_loss = _box_loss(out.boxes(), positives, strides)
        return {
            "classification": classification,
            "first_box": _FIRST_BOX_WEIGHT * first_loss / num_first,
            "box": _BOX_WEIGHT * box_loss / num_positives,
        }

    def scores(self, out: RepPointsOutputs) -> Sequence[Tensor]:
        """Compute the scores: for each level (N, a, K) in [0, 1]."""
        return [level.sigmoid() for level in out.logits]

    def _assigned(self, out: RepPointsOutputs, targets: Targets) -> RepPointsOutputs:
        """Add the matches (N, A) of both stages, and the boxes (N, A, 4) of the first."""
        with torch.autocast(out.points[0].device.type, enabled=False):
            boxes = out.decoded(torch.cat([*out.first], dim=1))
            first_stage = FirstStage(boxes, self._match_points(out.points, targets))
            matches = self._match_boxes(boxes.detach(), torch.cat([*out.points]), targets)
        return replace(out, matches=matches, first_stage=first_stage)

    def _points(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Return the locations of maps (N, C, H, W): for each level (H W, 2) xy in pixels."""
        return [corner_points(maps, level.stride) for maps, level in zip(features, self.levels, strict=True)]

    def _match_points(self, points: Sequence[Tensor], targets: Targets) -> Tensor:
        """Assign objects for the first stage by the positions of the locations: (N, A)."""
        strides = [level.stride for level in self.levels]
        matches = []
        for boxes, image_size in zip(targets.boxes, targets.image_sizes, strict=True):
            is_padding = [is_batch_padding(level, image_size) for level in points]
            inside = [level[~padding] for level, padding in zip(points, is_padding, strict=True)]
            of_image = torch.full((sum(map(len, points)),), IGNORED, device=boxes.device)
            of_image[~torch.cat(is_padding)] = nearest_point_matches(inside, strides, boxes.float())
            matches.append(of_image)
        return torch.stack(matches)

    def _match_boxes(self, first_boxes: Tensor, points: Tensor, targets: Targets) -> Tensor:
        """Assign objects for the second stage by the overlap of the first boxes: (N, A)."""
        matches = []
        for own, boxes, image_size in zip(first_boxes, targets.boxes, targets.image_sizes, strict=True):
            is_padding = is_batch_padding(points, image_size)
            of_image = torch.full((len(points),), BACKGROUND, device=points.device)
            if len(boxes) > 0:
                of_image = self._matcher(box_iou(boxes.float(), own).masked_fill(is_padding, 0))
            matches.append(of_image.masked_fill(is_padding, IGNORED))
        return torch.stack(matches)


class LevelOutputs(NamedTuple):
    """Holds the outputs at the A locations of a level, in float32."""

    logits: Tensor
    """(N, A, K)"""
    first: Tensor
    """(N, A, 9, 2) points of the first stage: (dy, dx) in cells from the location"""
    refined: Tensor
    """(N, A, 9, 2) points of the second stage, in the same form"""


class RepPointsHead(nn.Module):
    """Runs one tower for classes and one for points, the same on all levels."""

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
        """Predict classes and point sets on the map (N, C, H, W) of one level."""
        class_maps, point_maps = apply_tower(self.cls_convs, features), apply_tower(self.reg_convs, features)
        first = _in_float32(
            self.reppoints_pts_init_out, relu(self.reppoints_pts_init_conv(point_maps))
        )  # (N, 18, H, W)
        fixed = first.detach()
        sampled_points = _GRADIENT_THROUGH_POINTS * first + (1 - _GRADIENT_THROUGH_POINTS) * fixed
        offsets = sampled_points - kernel_grid(_KERNEL, first.device).view(1, -1, 1, 1)
        logits = self.reppoints_cls_out(relu(self.reppoints_cls_conv(class_maps, offsets)))
        moved = _in_float32(self.reppoints_pts_refine_out, relu(self.reppoints_pts_refine_conv(point_maps, offsets)))
        return LevelOutputs(flatten_cells(logits).float(), _point_sets(first), _point_sets(moved + fixed))


def _in_float32(layer: nn.Conv2d, features: Tensor) -> Tensor:
    """Apply a layer to (N, C, H, W) in float32, also under autocast.

    bfloat16 cannot represent an eighth of a cell at a distance of 30 cells.
    """
    with torch.autocast(features.device.type, enabled=False):
        output: Tensor = layer(features.float())
    return output


def _point_sets(maps: Tensor) -> Tensor:
    """Reshape (N, 18, H, W) to (N, H W, 9, 2)."""
    return flatten_cells(maps).reshape(maps.shape[0], -1, _NUM_POINTS, 2)


def _box_loss(boxes: Tensor, positives: Positives, strides: Tensor) -> Tensor:
    """Sum the smooth L1 distance between predicted and true boxes, in units of four strides of the location.

    Args:
        boxes: (N, A, 4).
        strides: (A, 1).
    """
    unit = _BOX_UNIT_IN_STRIDES * strides[positives.location]
    predicted = boxes[positives.image, positives.location]
    return smooth_l1_loss(predicted / unit, positives.boxes / unit, beta=_BETA, reduction="sum")
