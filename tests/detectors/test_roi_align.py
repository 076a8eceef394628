"""Pooling boxes from any pyramid."""

import pytest
import torch
from torch import Tensor

from fgd_core.roi_align import levels_of, pool_from_map, pool_from_pyramid

DENSE_STRIDES = (8, 16, 32, 64, 128)


def positions(stride: int, side_px: int = 1024) -> Tensor:
    """Return a map (1, 3, H, W) whose cells hold the stride, and the x and y of their middle in pixels."""
    middles = (torch.arange(side_px // stride) + 0.5) * stride
    x = middles.expand(len(middles), -1)
    return torch.stack([torch.full_like(x, stride), x, x.T])[None]


class TestPoolFromMap:
    @pytest.mark.parametrize("stride", DENSE_STRIDES[:4])
    def test_reads_the_same_place_of_the_image_on_every_level(self, stride: int) -> None:
        box = torch.tensor([[256.0, 320, 704, 768]])
        (pooled,) = pool_from_map(positions(stride), [box], stride, 7)
        middles = (torch.arange(7) + 0.5) * 64
        assert torch.equal(pooled[0], torch.full((7, 7), float(stride)))
        torch.testing.assert_close(pooled[1], (256 + middles).expand(7, 7))
        torch.testing.assert_close(pooled[2], (320 + middles)[:, None].expand(7, 7))

    def test_passes_gradients_to_the_map_and_keeps_float32_under_autocast(self) -> None:
        features = positions(8).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            pooled = pool_from_map(features, [torch.tensor([[601.0, 603, 657, 659]])], 8, 7)
        assert pooled.dtype == torch.float32
        torch.testing.assert_close(pooled[0, 1, 0], 601 + (torch.arange(7) + 0.5) * 8)
        pooled.sum().backward()
        assert features.grad is not None and features.grad.any()

    def test_pools_each_box_from_its_own_image(self) -> None:
        features = torch.arange(3.0)[:, None, None, None].expand(3, 1, 8, 8)
        box = torch.tensor([[8.0, 8, 40, 40]])
        pooled = pool_from_map(features, [box, torch.zeros(0, 4), torch.cat([box, box])], 8, 7)
        assert pooled.mean((1, 2, 3)).tolist() == [0, 2, 2]

    def test_no_boxes_keep_their_shape(self) -> None:
        assert pool_from_map(positions(8), [torch.zeros(0, 4)], 8, 7).shape == (0, 3, 7, 7)


class TestPoolFromPyramid:
    @pytest.mark.parametrize(("side", "stride"), [(60, 8), (112, 8), (224, 16), (448, 32), (900, 64), (1000, 64)])
    def test_pools_from_the_level_of_the_size_in_a_dense_pyramid(self, side: int, stride: int) -> None:
        maps = [positions(level) for level in DENSE_STRIDES]
        boxes = [torch.tensor([[10.0, 10, 10 + side, 10 + side]])]
        (pooled,) = pool_from_pyramid(maps, boxes, DENSE_STRIDES, 7)
        assert torch.equal(pooled[0], torch.full((7, 7), float(stride)))
        assert DENSE_STRIDES[levels_of(boxes, DENSE_STRIDES)] == stride

    def test_keeps_the_order_of_boxes_of_different_levels(self) -> None:
        maps = [positions(level) for level in DENSE_STRIDES]
        sides = torch.tensor([448.0, 60, 224])
        boxes = torch.stack([torch.full((3,), 8.0), torch.full((3,), 8.0), 8 + sides, 8 + sides], dim=1)
        pooled = pool_from_pyramid(maps, [boxes], DENSE_STRIDES, 7)
        assert pooled[:, 0, 0, 0].tolist() == [32, 8, 16]
