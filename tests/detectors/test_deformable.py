"""Deformable convolution: known offsets have known results, and all offsets follow the formula."""

import math

import pytest
import torch
from torch import Tensor, nn

from fgd_core.detectors.parts.deformable import DeformConv2d, SelfDeformingConv2d


def plain(**fields: int) -> nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(4, 6, 3, padding=1, bias=False, **fields)


def deformable_of(conv: nn.Conv2d) -> DeformConv2d:
    """Build a deformable convolution with the same weights, which gets its offsets as an argument."""
    deformable = DeformConv2d(4, 6, 3, padding=1, bias=False)
    deformable.weight = conv.weight
    return deformable


def by_hand(features: Tensor, offsets: Tensor, weight: Tensor, mask: Tensor) -> Tensor:
    """Convolve in a loop over scalars: 3x3, stride 1, padding 1; values outside are 0, also for interpolation."""

    def at(channel: int, y: int, x: int) -> float:
        _, height, width = features.shape
        return float(features[channel, y, x]) if 0 <= y < height and 0 <= x < width else 0.0

    def between(channel: int, y: float, x: float) -> float:
        top, left = math.floor(y), math.floor(x)
        return sum(
            at(channel, row, column) * (1 - abs(y - row)) * (1 - abs(x - column))
            for row in (top, top + 1)
            for column in (left, left + 1)
        )

    channels, height, width = features.shape
    out = torch.zeros(len(weight), height, width, dtype=torch.float64)
    for o in range(len(weight)):
        for y in range(height):
            for x in range(width):
                for point in range(9):
                    dy, dx = offsets[2 * point : 2 * point + 2, y, x].tolist()
                    row, column = y + point // 3 - 1 + dy, x + point % 3 - 1 + dx
                    for c in range(channels):
                        seen = between(c, row, column) * float(mask[point, y, x])
                        out[o, y, x] += float(weight[o, c, point // 3, point % 3]) * seen
    return out


class TestOffsets:
    def test_of_zero_equal_a_plain_convolution(self) -> None:
        conv, features = plain(), torch.randn(2, 4, 7, 9)
        torch.testing.assert_close(deformable_of(conv)(features, torch.zeros(2, 18, 7, 9)), conv(features))

    def test_of_whole_cells_equal_a_shifted_input(self) -> None:
        conv, features = plain(), torch.randn(2, 4, 7, 9)
        offsets = torch.tensor([2.0, -1.0]).repeat(9).view(1, 18, 1, 1).expand(2, 18, 7, 9)
        shifted = torch.zeros_like(features)
        shifted[:, :, :-2, 1:] = features[:, :, 2:, :-1]
        # At the border the results differ, because the shifted input lost the values outside its frame.
        ours, expected = deformable_of(conv)(features, offsets.contiguous()), conv(shifted)
        torch.testing.assert_close(ours[:, :, 1:4, 2:8], expected[:, :, 1:4, 2:8])

    @pytest.mark.parametrize("modulated", [False, True])
    def test_of_any_size_give_what_a_scalar_loop_in_float64_gives(self, modulated: bool) -> None:
        random = torch.Generator().manual_seed(0)
        features = torch.randn(1, 2, 4, 5, dtype=torch.float64, generator=random)
        offsets = 1.5 * torch.randn(1, 18, 4, 5, dtype=torch.float64, generator=random)
        mask = torch.rand(1, 9, 4, 5, dtype=torch.float64, generator=random)
        conv = DeformConv2d(2, 3, 3, padding=1, bias=False).double()
        ours = conv(features, offsets, mask if modulated else None)
        expected = by_hand(
            features[0], offsets[0], conv.weight.detach(), mask[0] if modulated else torch.ones_like(mask[0])
        )
        torch.testing.assert_close(ours[0], expected, rtol=1e-12, atol=1e-12)


class TestSelfDeforming:
    @pytest.mark.parametrize("fields", [{}, {"stride": 2}, {"groups": 2}])
    def test_starts_as_the_plain_convolution_or_half_of_it_if_modulated(self, fields: dict[str, int]) -> None:
        conv, features = plain(**fields), torch.randn(2, 4, 8, 8)
        torch.testing.assert_close(SelfDeformingConv2d(conv, modulated=False)(features), conv(features))
        torch.testing.assert_close(2 * SelfDeformingConv2d(conv, modulated=True)(features), conv(features))

    def test_the_logits_of_the_mask_come_after_the_offsets(self) -> None:
        conv, features = plain(), torch.randn(1, 4, 8, 8)
        deformable = SelfDeformingConv2d(conv, modulated=True)
        bias = deformable.conv_offset.bias
        assert bias is not None
        with torch.no_grad():
            bias[18:] = -100.0
            assert deformable(features).abs().max() < 1e-30
            bias[18:] = 100.0
            bias[0:18:2] = 1.0  # every point looks one row further down
        ours, expected = deformable(features), conv(features)
        torch.testing.assert_close(ours[:, :, :-2], expected[:, :, 1:-1])

    def test_bfloat16_autocast_computes_in_float32_and_returns_bfloat16(self) -> None:
        deformable = SelfDeformingConv2d(plain(), modulated=True)
        nn.init.normal_(deformable.conv_offset.weight, std=0.1, generator=torch.Generator().manual_seed(0))
        features = torch.randn(1, 4, 8, 8, requires_grad=True)
        with torch.autocast("cpu", torch.bfloat16):
            ours = deformable(features.bfloat16())
        assert ours.dtype == torch.bfloat16
        exact = deformable(features.bfloat16().float())
        torch.testing.assert_close(ours, exact.bfloat16(), rtol=0, atol=0)
        ours.sum().backward()
        assert features.grad is not None and features.grad.isfinite().all()
