"""Feature imitation: means and sums, by hand."""

import pytest
import torch

from fgd_core.methods.fitnet import FitNetLoss, imitation_loss
from fgd_core.spec.methods import FitNet
from tests.methods.waves import PAIR, golden_maps, lesson


def test_the_mean_and_the_sum_equal_loops_over_all_values() -> None:
    student, teacher = golden_maps()
    squares = [(s - t) ** 2 for s, t in zip(student.flatten().tolist(), teacher.flatten().tolist(), strict=True)]
    assert imitation_loss(student, teacher, "mean").item() == pytest.approx(sum(squares) / len(squares), abs=1e-12)
    assert imitation_loss(student, teacher, "sum").item() == pytest.approx(sum(squares) / 2, rel=1e-12)
    assert imitation_loss(student, teacher, "sum").item() == pytest.approx(100.3023765535, abs=1e-9)


def test_normalised_maps_are_compared_by_their_angle() -> None:
    """The squared distance of two unit vectors is 2 - 2 cos."""
    student, teacher = golden_maps()
    cosines = torch.cosine_similarity(student.flatten(1), teacher.flatten(1))
    found = imitation_loss(student, teacher, "sum", normalised=True)
    torch.testing.assert_close(found, (2 - 2 * cosines).mean())
    torch.testing.assert_close(found, imitation_loss(7 * student, teacher, "sum", normalised=True))


def test_normalising_an_empty_map_is_finite() -> None:
    student, teacher = golden_maps()
    student = (0 * student).requires_grad_()
    imitation_loss(student, teacher, normalised=True).backward()
    assert student.grad is not None and student.grad.isfinite().all()


def test_the_settings_reach_the_loss() -> None:
    student, teacher = golden_maps()
    terms = FitNetLoss(FitNet(weight=0.5, reduction="sum"), PAIR)(student, teacher, lesson())
    assert terms.total.item() == pytest.approx(0.5 * 100.3023765535, abs=1e-9)
