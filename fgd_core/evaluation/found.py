"""What a detector found in one image, ready to be scored."""

from typing import NamedTuple

from torch import Tensor

from fgd_core.data.masks import ObjectMasks


class Found(NamedTuple):
    """In pixels of the original image, best first; on the CPU."""

    boxes_xyxy_px: Tensor
    """(n, 4)"""
    scores: Tensor
    """(n,) in [0, 1]"""
    labels: Tensor
    """(n,) int64, the index of the class"""
    masks: ObjectMasks | None = None
    """Of the n objects, at the image's size."""
