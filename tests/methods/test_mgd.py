"""Masked generative distillation: the mask, and the sum over generated maps."""

import pytest
import torch
from torch import Tensor, nn

from fgd_core.methods.mgd import MgdLoss, kept_cells
from fgd_core.spec.methods import Mgd
from tests.methods.waves import PAIR, golden_maps, lesson


def copying(loss: MgdLoss) -> MgdLoss:
    """Let the generation copy positive values: both convolutions become the identity."""
    for layer in (loss.generation[0], loss.generation[2]):
        assert isinstance(layer, nn.Conv2d) and layer.bias is not None
        nn.init.dirac_(layer.weight)
        nn.init.zeros_(layer.bias)
    return loss.double()


def test_hides_the_wanted_share_of_cells_in_all_channels() -> None:
    torch.manual_seed(0)
    kept = kept_cells(torch.zeros(4, 3, 100, 100), 0.65)
    assert kept.shape == (4, 1, 100, 100) and set(kept.unique().tolist()) == {0, 1}
    assert kept.mean().item() == pytest.approx(0.35, abs=0.01)
    assert kept_cells(torch.zeros(1, 3, 9, 9), 0.0).all()


def test_hides_other_cells_in_each_image_and_each_step() -> None:
    torch.manual_seed(0)
    first, second = (kept_cells(torch.zeros(2, 1, 20, 20), 0.5) for _ in range(2))
    assert not first[0].equal(first[1]) and not first.equal(second)


def test_the_loss_is_the_sum_over_channels_and_cells_per_image() -> None:
    student, teacher = golden_maps()
    torch.manual_seed(3)
    kept = kept_cells(student, 0.65)
    expected = ((student * kept).clamp(min=0) - teacher).square().sum() / 2
    loss = copying(MgdLoss(Mgd(alpha=0.1), PAIR))
    torch.manual_seed(3)
    terms = loss(student, teacher, lesson())
    torch.testing.assert_close(terms.total, 0.1 * expected)


def test_normalise_turns_the_sum_into_a_mean_over_cells_times_the_published_cells() -> None:
    student, teacher = golden_maps()
    losses = []
    for method in (Mgd(alpha=1), Mgd(alpha=1, normalise="hw")):
        torch.manual_seed(3)
        losses.append(copying(MgdLoss(method, PAIR))(student, teacher, lesson()).total)
    height, width = lesson().input_size
    torch.testing.assert_close(losses[1], losses[0] * 800 * 1333 / (height * width))


def test_hidden_cells_get_no_gradient() -> None:
    student, teacher = (each.abs() for each in golden_maps())
    student.requires_grad_()
    torch.manual_seed(3)
    kept = kept_cells(student, 0.65)
    loss = copying(MgdLoss(Mgd(), PAIR))
    torch.manual_seed(3)
    terms = loss(student, teacher, lesson())
    terms.total.backward()
    gradient: Tensor | None = student.grad
    assert gradient is not None
    assert torch.equal(gradient.abs().sum(1, keepdim=True) > 0, kept > 0)
