"""Boxes, corrections and matches are torchvision's, without its waits for the device."""

import pytest
import torch
from torch import Tensor
from torchvision.models.detection._utils import BoxCoder as TorchvisionCoder
from torchvision.models.detection._utils import Matcher
from torchvision.ops import box_iou, generalized_box_iou_loss

from fgd_core.boxes import giou_loss
from fgd_core.data.targets import Targets
from fgd_core.detectors.parts.assignment import BestAnchorMatcher, ThresholdMatcher, objects_at
from fgd_core.detectors.parts.box_coding import BoxCoder
from fgd_core.outputs import BACKGROUND, IGNORED


def boxes(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    corners = 100 * torch.rand(count, 2, generator=generator)
    return torch.cat([corners, corners + 1 + 40 * torch.rand(count, 2, generator=generator)], 1)


def test_the_giou_loss_is_torchvisions_with_its_gradient() -> None:
    own, other = boxes(500, 0).double(), boxes(500, 1).double()
    found = []
    for compute in (giou_loss, generalized_box_iou_loss):
        one = own.clone().requires_grad_()
        losses = compute(one, other)
        losses.sum().backward()
        assert one.grad is not None
        found.append((losses.detach(), one.grad))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("shift_weight", "growth_weight"), [(1.0, 1.0), (10.0, 5.0)])
def test_corrections_are_torchvisions_to_the_bit(shift_weight: float, growth_weight: float) -> None:
    ours = BoxCoder(shift_weight, growth_weight)
    theirs = TorchvisionCoder((shift_weight, shift_weight, growth_weight, growth_weight))
    anchors, true = boxes(100, 0), boxes(100, 1)
    deltas = torch.randn(100, 4)
    assert torch.equal(ours.encode(true, anchors), theirs.encode_single(true, anchors))
    assert torch.equal(ours.decode(deltas, anchors), theirs.decode_single(deltas, anchors))


@pytest.mark.parametrize("claims", [True, False], ids=["with claims", "by thresholds"])
def test_matches_are_torchvisions(claims: bool) -> None:
    theirs = Matcher(0.5, 0.4, allow_low_quality_matches=claims)
    ours = (BestAnchorMatcher if claims else ThresholdMatcher)(0.5, 0.4)
    for seed in range(20):
        overlaps = box_iou(boxes(7, seed), boxes(300, 100 + seed))
        assert torch.equal(ours(overlaps), theirs(overlaps))


def test_every_location_gets_the_object_of_its_own_image() -> None:
    targets = Targets([boxes(2, 0), boxes(0, 0)], [torch.tensor([4, 5]), torch.zeros(0, dtype=torch.int64)], [])
    cells = boxes(3, 1)
    found = objects_at(torch.tensor([[1, BACKGROUND, 0], [IGNORED, BACKGROUND, -1]]), targets, otherwise=cells)
    assert found.classes.tolist() == [[5, BACKGROUND, 4], [IGNORED, BACKGROUND, BACKGROUND]]
    assert torch.equal(found.boxes[0], torch.stack([targets.boxes[0][1], cells[1], targets.boxes[0][0]]))
    assert torch.equal(found.boxes[1], cells)
