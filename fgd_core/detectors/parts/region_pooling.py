"""Crops regions from the maps of a pyramid, and masks to boxes."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.ops import roi_align

from fgd_core.roi_align import pool_from_pyramid, pool_rows

_STRIDES = (4, 8, 16, 32)


class RegionPool(NamedTuple):
    """Pools regions from P2 to P5 with RoIAlign: larger regions from coarser maps.

    The strides are fixed here. torchvision estimates them from the first batch, wrongly if a small input is mostly
    padding.
    """

    size: int
    """Of the pooled square in cells."""
    aligned: bool
    """As of `fgd_core.roi_align.pool_from_map`."""

    def __call__(self, maps: Sequence[Tensor], boxes: Sequence[Tensor]) -> Tensor:
        """Pool the boxes of all images.

        Args:
            maps: for each level (N, C, H, W), finest first; maps above P5 are not used.
            boxes: (n, 4) float32 xyxy in pixels for each image.
        Returns:
            (boxes of all images, C, size, size) float32
        """
        return pool_from_pyramid(maps, boxes, _STRIDES, self.size, aligned=self.aligned)

    def rows(self, maps: Sequence[Tensor], rows: Tensor) -> Tensor:
        """Pool rows (n, 5) of an image's index and a box from maps (N, C, H, W): (n, C, size, size) float32."""
        return pool_rows(maps, rows, _STRIDES, self.size, aligned=self.aligned)


@torch.no_grad()
def crop_masks(masks: Tensor, boxes: Tensor, objects: Tensor, size: int, *, aligned: bool) -> Tensor:
    """Crop the mask of each box and resize it: the target of a mask head.

    Args:
        masks: (m, height, width) 1 on the object.
        boxes: (n, 4) xyxy in pixels.
        objects: (n,) the index of the mask of each box.
        size: of the crop in cells.
        aligned: True as in mmdetection, which also rounds targets to 0 or 1; torchvision does not round.
    Returns:
        (n, size, size) float32 in [0, 1]
    """
    regions = torch.cat([objects.to(boxes)[:, None], boxes], dim=1)
    with torch.autocast(boxes.device.type, enabled=False):
        cropped: Tensor = roi_align(masks[:, None].to(boxes), regions, size, sampling_ratio=0, aligned=aligned)[:, 0]
    return (cropped >= 0.5).to(boxes) if aligned else cropped
