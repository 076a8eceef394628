"""The measures between distributions, against plain loops in float64."""

import math

import pytest
import torch
from torch import Tensor

from fgd_core.methods.parts.divergence import probability_cross_entropy, soft_focal_loss, tempered_divergence

STUDENT = torch.tensor([[0.3, -1.2, 2.0], [1.0, 1.0, -4.0]], dtype=torch.float64)
TEACHER = torch.tensor([[1.1, -0.2, 0.4], [1.0, 1.0, -4.0]], dtype=torch.float64)


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def softmax(row: Tensor, temperature: float) -> list[float]:
    exponentials = [math.exp(value / temperature) for value in row.tolist()]
    return [value / sum(exponentials) for value in exponentials]


class TestTemperedDivergence:
    @pytest.mark.parametrize("temperature", [0.5, 1.0, 10.0])
    def test_is_the_divergence_of_the_student_from_the_teacher_times_the_squared_temperature(
        self, temperature: float
    ) -> None:
        p, q = softmax(TEACHER[0], temperature), softmax(STUDENT[0], temperature)
        expected = temperature**2 * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
        losses = tempered_divergence(STUDENT, TEACHER, temperature)
        assert losses.tolist() == pytest.approx([expected, 0], abs=1e-12)

    def test_is_finite_for_distributions_without_overlap(self) -> None:
        far = torch.tensor([[300.0, 0, -300]])
        assert tempered_divergence(far, far.flip(1), 1.0).isfinite().all()


class TestSoftFocalLoss:
    def test_agrees_with_plain_loops(self) -> None:
        expected = []
        for s, t in zip(STUDENT[0].tolist(), TEACHER[0].tolist(), strict=True):
            q, p = sigmoid(s), sigmoid(t)
            expected.append(abs(q - p) * -(p * math.log(q) + (1 - p) * math.log(1 - q)))
        assert soft_focal_loss(STUDENT, TEACHER)[0].tolist() == pytest.approx(expected, abs=1e-12)

    def test_is_zero_where_the_student_agrees(self) -> None:
        assert not soft_focal_loss(STUDENT, TEACHER)[1].any()

    def test_has_its_minimum_and_no_gradient_at_the_teachers_scores(self) -> None:
        student = TEACHER.clone().requires_grad_()
        soft_focal_loss(student, TEACHER, beta=2.0).sum().backward()
        assert student.grad is not None and student.grad.abs().max() < 1e-12


class TestProbabilityCrossEntropy:
    def test_agrees_with_plain_loops(self) -> None:
        p, q = softmax(TEACHER[0], 1), softmax(STUDENT[0], 1)
        terms = [-(a * math.log(b) + (1 - a) * math.log(1 - b)) for a, b in zip(p, q, strict=True)]
        assert probability_cross_entropy(STUDENT, TEACHER)[0].item() == pytest.approx(sum(terms) / 3)

    def test_is_finite_for_a_student_that_is_certain(self) -> None:
        student = torch.tensor([[200.0, -200, -200]], requires_grad=True)
        loss = probability_cross_entropy(student, TEACHER[:1].float()).sum()
        loss.backward()
        assert loss.isfinite() and student.grad is not None and student.grad.isfinite().all()
