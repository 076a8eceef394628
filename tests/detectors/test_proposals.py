"""Suppression of proposals, against torchvision's functions one after another."""

import pytest
import torch
from torch import Tensor
from torchvision.ops import batched_nms, remove_small_boxes

from fgd_core.detectors.parts import proposals
from fgd_core.detectors.parts.proposals import NMS_IOU_THRESHOLD, SMALLEST_BOX_PX

SIDE = 640


def drawn(share_of_small: float) -> tuple[Tensor, Tensor, Tensor]:
    """Draw boxes of three levels with their scores; the small ones have the highest scores."""
    torch.manual_seed(3)
    corners, sides = SIDE / 2 * torch.rand(300, 2), 20 + SIDE / 3 * torch.rand(300, 2)
    is_small = torch.rand(300) < share_of_small
    sides[is_small, 0] = 0
    return torch.cat([corners, corners + sides], 1), (torch.rand(300) + is_small).clamp(max=1), torch.arange(300) % 3


@pytest.mark.parametrize("share_of_small", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("together", [0, 1000], ids=["level by level", "all at once"])
def test_small_and_covered_boxes_are_left_out(
    share_of_small: float, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proposals, "_TOGETHER", together)
    boxes, scores, levels = drawn(share_of_small)
    large = remove_small_boxes(boxes, SMALLEST_BOX_PX)
    expected = large[batched_nms(boxes[large], scores[large], levels[large], NMS_IOU_THRESHOLD)]
    assert len(expected) < len(large) or share_of_small == 1
    assert torch.equal(proposals._suppressed(boxes, scores, levels, SIDE), expected)
