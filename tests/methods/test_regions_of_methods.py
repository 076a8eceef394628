"""The comparisons of regions, against plain loops."""

import math

import pytest
import torch
from torch import Tensor

from fgd_core.methods.parts.regions import counted_mean, expected_deltas, improves, of_own_class, region_divergence

STUDENT = torch.tensor([[0.3, -1.2, 2.0], [1.0, 1.0, -4.0], [0.0, 0.5, 0.2]], dtype=torch.float64)
TEACHER = torch.tensor([[1.1, -0.2, 0.4], [0.0, 2.0, -1.0], [0.3, 0.3, 0.9]], dtype=torch.float64)


def divergence(row: int, temperature: float) -> float:
    p, q = ([math.exp(v / temperature) for v in each[row].tolist()] for each in (TEACHER, STUDENT))
    shares = [(a / sum(p), b / sum(q)) for a, b in zip(p, q, strict=True)]
    return temperature**2 * sum(a * math.log(a / b) for a, b in shares)


class TestRegionDivergence:
    @pytest.mark.parametrize("temperature", [1.0, 4.0])
    def test_averages_over_the_counted_regions(self, temperature: float) -> None:
        loss = region_divergence(STUDENT, TEACHER, torch.tensor([True, False, True]), temperature)
        assert loss.item() == pytest.approx((divergence(0, temperature) + divergence(2, temperature)) / 2)

    @pytest.mark.parametrize("num_regions", [0, 3])
    def test_of_no_counted_region_is_a_connected_zero(self, num_regions: int) -> None:
        student = STUDENT[:num_regions].clone().requires_grad_()
        loss = region_divergence(student, TEACHER[:num_regions], torch.zeros(num_regions, dtype=torch.bool), 1.0)
        loss.backward()
        assert loss.item() == 0 and student.grad is not None and not student.grad.any()


def test_foreground_and_background_together_hold_every_region_once() -> None:
    losses, is_object = torch.tensor([1.0, 2.0, 6.0]), torch.tensor([True, False, False])
    assert (counted_mean(losses, is_object), counted_mean(losses, ~is_object)) == (1, 4)


class TestDeltas:
    COLUMNS = torch.arange(24, dtype=torch.float64).view(3, 2, 4)

    def test_are_averaged_with_the_probabilities_of_the_classes(self) -> None:
        p = TEACHER.softmax(1)
        expected = [p[i, 1] * self.COLUMNS[i, 0] + p[i, 2] * self.COLUMNS[i, 1] for i in range(3)]
        assert (expected_deltas(self.COLUMNS, TEACHER) - torch.stack(expected)).abs().max() < 1e-12

    def test_of_each_regions_own_class_are_selected(self) -> None:
        chosen = of_own_class(self.COLUMNS, torch.tensor([2, 1, 0]))
        assert chosen.tolist() == [
            self.COLUMNS[0, 1].tolist(),
            self.COLUMNS[1, 0].tolist(),
            self.COLUMNS[2, 0].tolist(),
        ]


class TestGate:
    OBJECT = torch.tensor([[0.0, 0, 10, 10]])

    @pytest.mark.parametrize(
        ("refined", "is_open"),
        [((0, 0, 10, 9), True), ((0, 0, 10, 8), False), ((0, 0, 10, 7), False), ((50, 50, 60, 60), False)],
        ids=["better", "equal", "worse", "no overlap"],
    )
    def test_is_open_where_the_teacher_improves_the_proposal(self, refined: tuple[int, ...], is_open: bool) -> None:
        proposal = torch.tensor([[0.0, 0, 10, 8]])
        assert improves(box(refined), proposal, self.OBJECT).tolist() == [is_open]

    def test_is_closed_for_boxes_without_area(self) -> None:
        assert improves(box((5, 5, 5, 5)), box((3, 3, 3, 3)), box((4, 4, 4, 4))).tolist() == [False]

    def test_of_no_regions_is_empty(self) -> None:
        nothing = torch.zeros(0, 4)
        assert improves(nothing, nothing, nothing).shape == (0,)


def box(corners: tuple[int, ...]) -> Tensor:
    return torch.tensor([corners], dtype=torch.float32)
