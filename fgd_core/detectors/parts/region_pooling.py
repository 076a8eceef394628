"""Crops regions from the maps of a pyramid, and masks to boxes."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import MultiScaleRoIAlign, roi_align
from torchvision.ops.poolers import LevelMapper

_STRIDES = (4, 8, 16, 32)


class RegionPool(MultiScaleRoIAlign):  # type: ignore[misc]
    """Pools regions from P2 to P5 with RoIAlign: larger regions from coarser maps (arXiv:1612.03144, equation 1).

    The strides are fixed here. torchvision estimates them from the first batch, wrongly if a small input is mostly
    padding. Pooling is in float32, also under autocast: bfloat16 would lose half a pixel.

    Args:
        size: of the pooled square in cells.
        aligned: True as in mmdetection: pixel centres are half a pixel off their index, and the number of samples grows
            with the size of a cell. False as in torchvision: no shift, 2 x 2 samples a cell.
    """

    def __init__(self, size: int, *, aligned: bool) -> None:
        super().__init__([str(level) for level in range(len(_STRIDES))], size, sampling_ratio=0 if aligned else 2)
        self._aligned = aligned
        self._level_of = LevelMapper(2, 5)

    def forward(self, maps: Sequence[Tensor], boxes: Sequence[Tensor]) -> Tensor:
        """Pool the boxes of all images.

        Args:
            maps: for each level (N, C, H, W), finest first; maps above P5 are not used.
            boxes: (n, 4) float32 xyxy in pixels for each image.
        Returns:
            (boxes of all images, C, size, size) float32
        """
        boxes = list(boxes)
        image = torch.cat([b.new_full((len(b), 1), index) for index, b in enumerate(boxes)])
        regions = torch.cat([image, torch.cat(boxes)], dim=1)
        levels = self._level_of(boxes)
        pooled = regions.new_zeros((len(regions), maps[0].shape[1], *self.output_size))
        with torch.autocast(regions.device.type, enabled=False):
            for level, stride in enumerate(_STRIDES):
                on_level = (levels == level).nonzero().squeeze(1)
                pooled[on_level] = roi_align(
                    maps[level].float(),
                    regions[on_level],
                    self.output_size,
                    spatial_scale=1 / stride,
                    sampling_ratio=self.sampling_ratio,
                    aligned=self._aligned,
                )
        return pooled


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
