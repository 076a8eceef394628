"""The places that an object was assigned to, over a batch."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from fgd_core.data.targets import Targets

BACKGROUND = -1
NEITHER = -2
"""What a place is that is no object's; the index of an object is >= 0. The numbers are torchvision's `Matcher`'s."""


class Positives(NamedTuple):
    """Of P places that have an object; image by image, then place by place."""

    image: Tensor
    """(P,) int64"""
    place: Tensor
    """(P,) int64, along all levels"""
    boxes: Tensor
    """(P, 4) xyxy in pixels, of the place's object"""
    labels: Tensor
    """(P,) int64"""


def positives(matches: Tensor, targets: Targets) -> Positives:
    """
    Args:
        matches: (N, places) the index of each place's object within its image; negative for none.
    """
    image, place = (matches >= 0).nonzero(as_tuple=True)
    # The objects of all images in one row: each image's begin behind those of the images before.
    counts = torch.tensor([0, *(len(boxes) for boxes in targets.boxes[:-1])], device=matches.device)
    chosen = matches[image, place] + counts.cumsum(0)[image]
    return Positives(image, place, torch.cat(targets.boxes)[chosen], torch.cat(targets.labels)[chosen])


def count_positives(matches: Sequence[Tensor] | Tensor) -> Tensor:
    """How many places of a batch have an object, as mmdetection counts them: an image without any counts one.

    Args:
        matches: for each image (places,).
    Returns:
        Scalar float32.
    """
    return torch.stack([(of_image >= 0).sum().clamp(min=1) for of_image in matches]).sum().float()
