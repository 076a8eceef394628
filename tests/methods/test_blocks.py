"""Blocks of maps on a CPU."""

import pytest
import torch
from torch import Tensor

from fgd_core.methods.parts.blocks import blocks_of


def numbered(*shape: int) -> Tensor:
    return torch.arange(torch.Size(shape).numel(), dtype=torch.float32).view(shape)


@pytest.mark.parametrize(
    ("shape", "num_blocks"),
    [
        ((16, 64, 64), 1),
        ((300, 256, 49), 20),  # regions: fifteen to a block
        ((3, 256, 1000), 6),  # two to an image
        ((0, 256, 49), 0),
    ],
)
def test_a_block_holds_several_small_images_or_a_part_of_a_large_one(
    shape: tuple[int, int, int], num_blocks: int
) -> None:
    images, channels, cells = shape
    maps, columns, rows = numbered(*shape), numbered(images, channels, 1), numbered(images, 1, cells)
    seen = torch.full_like(maps, -1)
    blocks = list(blocks_of([maps, seen], [columns], [rows]))
    assert len(blocks) == num_blocks
    for (values, into), (column,), (row,) in blocks:
        assert torch.equal(column, values[:, :, :1] / cells)
        assert torch.equal(row[:, 0, 0], values[:, 0, 0].div(channels * cells, rounding_mode="floor") * cells)
        into.copy_(values)
    assert torch.equal(seen, maps)
