"""Task-adaptive features against the golden numbers."""

import pytest
import torch
from torch import nn

from fgd_core.methods.base import Moment
from fgd_core.methods.parts.imitation import masked_difference
from fgd_core.methods.parts.objects import gaussian_mask, stacked
from fgd_core.methods.tadr import TadrLoss
from fgd_core.spec.methods import Tadr
from tests.methods.waves import GOLDEN_BOXES, PAIR, STRIDE, boxes, golden_maps, lesson


def copying(loss: TadrLoss) -> TadrLoss:
    """Let the adapter copy the student's map."""
    assert loss.adapter.bias is not None
    nn.init.dirac_(loss.adapter.weight)
    nn.init.zeros_(loss.adapter.bias)
    return loss.double()


def test_equals_the_golden_numbers() -> None:
    student, teacher = golden_maps()
    terms = copying(TadrLoss(Tadr(), PAIR))(student, teacher, lesson())
    assert terms.parts["features"].item() == pytest.approx(0.1179529868, abs=1e-9)
    mask = gaussian_mask(stacked(GOLDEN_BOXES, student.device), STRIDE, student)
    assert masked_difference(student, teacher, 1 - mask).item() == pytest.approx(0.2697698292, abs=1e-9)


def test_the_weight_falls_to_zero_in_a_straight_line() -> None:
    loss = copying(TadrLoss(Tadr(features=1), PAIR))
    totals = [loss(*golden_maps(), lesson(moment=Moment(step, 100, 4))).total.item() for step in (0, 50, 100)]
    assert totals == pytest.approx([0.1179529868, 0.1179529868 / 2, 0], abs=1e-9)


def test_without_objects_nothing_is_imitated_and_the_graph_is_whole() -> None:
    student, teacher = golden_maps()
    loss = TadrLoss(Tadr(), PAIR).double()
    total = loss(student.requires_grad_(), teacher, lesson([boxes(), boxes()])).total
    total.backward()
    assert total == 0 and student.grad is not None and not student.grad.any()
    assert torch.equal(loss.adapter.weight.grad, torch.zeros_like(loss.adapter.weight))
