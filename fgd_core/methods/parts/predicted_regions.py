"""Chooses regions among the boxes that a dense detector predicts, and what its head knows of them."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.ops import box_iou, clip_boxes_to_image

from fgd_core.data.targets import Targets
from fgd_core.draws import some_of
from fgd_core.outputs import DenseOutputs

_CANDIDATES = 1000
_SHARE_OF_OBJECTS = 4
_OVERLAP_OF_OBJECTS = 0.5


class PredictedRegions(NamedTuple):
    """Holds the chosen boxes; one entry an image."""

    boxes: list[Tensor]
    """(n, 4) xyxy in pixels, inside the image"""
    anchors: list[Tensor]
    """(n,) int64, the anchor that predicts the box"""


@torch.no_grad()
def sample_predictions(outputs: DenseOutputs, targets: Targets, count: int) -> PredictedRegions:
    """Choose predicted boxes by chance among the best of each image, at most a quarter of them on objects.

    A box is on an object if their IoU is above one half. The targets' generators draw.

    Args:
        count: the largest number of boxes of an image.
    """
    scores = torch.cat([level.amax(-1) for level in outputs.logits], dim=1)  # (N, A)
    boxes = outputs.boxes()  # (N, A, 4)
    best = scores.topk(min(_CANDIDATES, scores.shape[1]), dim=1).indices  # (N, c)
    chosen = PredictedRegions([], [])
    images = zip(boxes, best, targets.boxes, targets.image_sizes, strict=True)
    draws = targets.generators("predictions", boxes.device)
    for (own, anchors, objects, size), generator in zip(images, draws, strict=True):
        candidates = clip_boxes_to_image(own[anchors], size)
        kept = choose(candidates, objects, count, generator)
        chosen.boxes.append(candidates[kept])
        chosen.anchors.append(anchors[kept])
    return chosen


def choose(candidates: Tensor, objects: Tensor, count: int, generator: torch.Generator | None = None) -> Tensor:
    """Choose up to `count` boxes by chance, at most a quarter of them on objects.

    Args:
        candidates: (c, 4) xyxy; boxes without area are never chosen.
        objects: (m, 4) xyxy; m may be 0.
        generator: as of `some_of`.
    Returns:
        (n,) int64, indices of candidates.
    """
    has_area = (candidates[:, 2:] > candidates[:, :2]).all(1)
    is_on_object = (box_iou(candidates, objects) > _OVERLAP_OF_OBJECTS).any(1)
    on_objects = some_of(has_area & is_on_object, count // _SHARE_OF_OBJECTS, generator)
    return torch.cat([on_objects, some_of(has_area & ~is_on_object, count - len(on_objects), generator)])


def vectors_at(maps: Sequence[Tensor], anchors: Sequence[Tensor], anchors_per_cell: int) -> Tensor:
    """Return the vectors of the cells of some anchors.

    Args:
        maps: for each level (N, C, H, W), fine to coarse.
        anchors: for each image (n,), indices over all levels, in the order of `DenseOutputs`.
        anchors_per_cell: number of anchors of each cell.
    Returns:
        (anchors of all images, C)
    """
    cells = torch.cat([level.flatten(2) for level in maps], dim=2)  # (N, C, cells)
    return torch.cat([own[:, index // anchors_per_cell].T for own, index in zip(cells, anchors, strict=True)])
