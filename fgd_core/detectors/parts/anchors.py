"""Boxes of fixed sizes and ratios around every cell of a pyramid."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator


class Anchors(AnchorGenerator):  # type: ignore[misc]
    """torchvision's anchors at the true strides: there they drift where an input is not divisible by the coarsest.

    Args:
        sizes_px: for each level the sides of its square anchors; the other ratios have the same area.
        strides: of the levels.
        are_rounded: corners in whole pixels, as torchvision has them; mmdetection's are exact.
    """

    def __init__(
        self,
        sizes_px: Sequence[Sequence[float]],
        strides: Sequence[int],
        *,
        are_rounded: bool,
        height_to_width: Sequence[float] = (0.5, 1.0, 2.0),
    ) -> None:
        super().__init__(tuple(map(tuple, sizes_px)), (tuple(height_to_width),) * len(sizes_px))
        self.strides = tuple(strides)
        if not are_rounded:
            self.cell_anchors = [_exact(sizes, height_to_width) for sizes in sizes_px]

    def on(self, features: Sequence[Tensor]) -> list[Tensor]:
        """(cells x anchors of a cell, 4) float32 xyxy in pixels for each level, cells row by row; the same for every
        image of a batch."""
        device = features[0].device
        self.set_cell_anchors(torch.float32, device)
        return list(
            self.grid_anchors(
                [list(level.shape[2:]) for level in features],
                [[torch.tensor(stride, device=device)] * 2 for stride in self.strides],
            )
        )


def _exact(sizes: Sequence[float], height_to_width: Sequence[float]) -> Tensor:
    """(ratios x sizes, 4) around the origin, in torchvision's order: the sizes of the first ratio, then the next."""
    root = torch.tensor(height_to_width).sqrt()[:, None]
    sides = torch.tensor(sizes)
    half_widths, half_heights = (sides / root).flatten() / 2, (sides * root).flatten() / 2
    return torch.stack([-half_widths, -half_heights, half_widths, half_heights], dim=1)
