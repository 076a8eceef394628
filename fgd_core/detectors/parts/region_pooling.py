"""Cutting regions out of a pyramid."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import MultiScaleRoIAlign, roi_align
from torchvision.ops.poolers import LevelMapper

_STRIDES = (4, 8, 16, 32)


class RegionPool(MultiScaleRoIAlign):  # type: ignore[misc]
    """RoIAlign on P2 to P5, the coarser the larger the region (arXiv:1612.03144, equation 1).

    torchvision guesses the strides from the first batch that it sees, and guesses wrong where little of a small input
    is image; here they are given. Pooled in float32 also under autocast: half a pixel is lost in bfloat16.

    Args:
        size: of the pooled square in cells.
        aligned: whether pixels are points half a pixel off their index and as many samples are taken as a cell is
            large, as in mmdetection; else as in torchvision: no shift, 2 x 2 samples a cell.
    """

    def __init__(self, size: int, *, aligned: bool) -> None:
        super().__init__([str(level) for level in range(len(_STRIDES))], size, sampling_ratio=0 if aligned else 2)
        self._aligned = aligned
        self._level_of = LevelMapper(2, 5)

    def forward(self, maps: Sequence[Tensor], boxes: Sequence[Tensor]) -> Tensor:
        """
        Args:
            maps: of the pyramid, finest first; those above P5 are not looked at.
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
                here = (levels == level).nonzero().squeeze(1)
                pooled[here] = roi_align(
                    maps[level].float(),
                    regions[here],
                    self.output_size,
                    spatial_scale=1 / stride,
                    sampling_ratio=self.sampling_ratio,
                    aligned=self._aligned,
                )
        return pooled


@torch.no_grad()
def crop_masks(masks: Tensor, boxes: Tensor, objects: Tensor, size: int, *, aligned: bool) -> Tensor:
    """What a mask head is to say of each box.

    Args:
        masks: (m, height, width) 1 on the object.
        boxes: (n, 4) xyxy in pixels.
        objects: (n,) the mask that belongs to each box.
        aligned: as in mmdetection, whose targets are also rounded to 0 or 1; torchvision's may lie between.
    Returns:
        (n, size, size) float32 in [0, 1]
    """
    regions = torch.cat([objects.to(boxes)[:, None], boxes], dim=1)
    with torch.autocast(boxes.device.type, enabled=False):
        cut: Tensor = roi_align(masks[:, None].to(boxes), regions, size, sampling_ratio=0, aligned=aligned)[:, 0]
    return (cut >= 0.5).to(boxes) if aligned else cut
