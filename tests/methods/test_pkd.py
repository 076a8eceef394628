"""Pearson distillation against the golden numbers and the correlation that it stands for."""

import pytest
import torch

from fgd_core.methods.pkd import PkdLoss, pkd_loss
from tests.methods.waves import PAIR, golden_maps, lesson


def test_it_equals_the_golden_number() -> None:
    """Computed with mmrazor's code, in float64."""
    student, teacher = golden_maps()
    assert pkd_loss(student, teacher).item() == pytest.approx(0.3742501263, abs=1e-9)
    terms = PkdLoss(PAIR, 6.0)(student, teacher, lesson())
    assert terms.total.item() == pytest.approx(6 * 0.3742501263, abs=1e-9)


def test_it_is_one_minus_the_mean_correlation_of_channels() -> None:
    student, teacher = golden_maps()
    pairs = zip(student.transpose(0, 1).flatten(1), teacher.transpose(0, 1).flatten(1), strict=True)
    correlations = [torch.corrcoef(torch.stack(pair))[0, 1].item() for pair in pairs]
    count = student[:, 0].numel()
    expected = (count - 1) / count * (1 - sum(correlations) / len(correlations))
    assert pkd_loss(student, teacher).item() == pytest.approx(expected, rel=1e-5)


def test_the_size_and_the_mean_of_a_channel_do_not_matter() -> None:
    student, teacher = golden_maps()
    factors = torch.tensor([0.5, 2, 7, 100.0])[:, None, None]
    assert pkd_loss(factors * student + 3, teacher).item() == pytest.approx(pkd_loss(student, teacher).item(), rel=1e-5)
