"""The adaptation cost between feature maps, and the order of teachers that follows from it."""

import pytest
import torch
from torch import Tensor

from fgd_core.methods.levels import Pair
from fgd_core.training.adaptation import AdaptationFit, LinearFit, adaptation_cost, backward_order


def feat(a: float, b: float) -> Tensor:
    """Return the maps (2, 4, 6, 8) in float64 of the reference values."""
    n, c, h, w = torch.meshgrid(*(torch.arange(size, dtype=torch.float64) for size in (2, 4, 6, 8)), indexing="ij")
    return torch.sin(a * (1 + n) + 0.7 * c + 0.3 * h * b + 0.11 * w) + 0.25 * torch.cos(0.5 * c * h + 0.2 * w + a)


TEACHER, STUDENT = feat(0.4, 1.0), feat(0.9, 1.3)


class TestAdaptationCost:
    def test_it_is_the_reference_value(self) -> None:
        assert adaptation_cost(STUDENT, TEACHER) == pytest.approx(0.0684660027, abs=1e-10)

    def test_a_linear_map_with_offset_costs_nothing(self) -> None:
        mixed = torch.einsum("dc,nchw->ndhw", torch.randn(7, 4, dtype=torch.float64), STUDENT) + 3
        assert adaptation_cost(STUDENT, mixed) == pytest.approx(0, abs=1e-12)

    def test_noise_costs_its_share_of_the_variance(self) -> None:
        generator = torch.Generator().manual_seed(0)
        source, noise = torch.randn(2, 8, 4, 64, 64, generator=generator).double()
        assert adaptation_cost(source, source + noise) == pytest.approx(0.5, abs=0.01)

    def test_a_channel_that_repeats_another_changes_nothing(self) -> None:
        twice = torch.cat([STUDENT, STUDENT[:, :1], torch.ones_like(STUDENT[:, :1])], dim=1)
        assert adaptation_cost(twice, TEACHER) == pytest.approx(adaptation_cost(STUDENT, TEACHER), abs=1e-10)

    def test_a_constant_target_costs_nothing(self) -> None:
        assert adaptation_cost(STUDENT, torch.ones_like(TEACHER)) == 0

    def test_batches_count_as_one(self) -> None:
        fit = LinearFit()
        for source, target in zip(STUDENT.split(1), TEACHER.split(1), strict=True):
            fit.add(source, target)
        assert fit.residual() == pytest.approx(adaptation_cost(STUDENT, TEACHER), abs=1e-12)


class TestAdaptationFit:
    def test_the_cost_is_the_mean_over_the_paired_levels(self) -> None:
        fit = AdaptationFit([Pair(0, 1, 1.0), Pair(1, 0, 1.0)])
        fit.add([STUDENT, STUDENT], [STUDENT, TEACHER])
        assert fit.cost() == pytest.approx(adaptation_cost(STUDENT, TEACHER) / 2, abs=1e-10)

    def test_a_finer_target_is_interpolated(self) -> None:
        fine = TEACHER.float().repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        fit = AdaptationFit([Pair(0, 0, 2.0)])
        fit.add([TEACHER.float()], [fine])
        assert fit.cost() == pytest.approx(0, abs=1e-6)


class TestBackwardOrder:
    def test_the_strongest_teacher_is_last_and_its_nearest_comes_before_it(self) -> None:
        costs = [[0.0, 0.2, 0.9], [0.2, 0.0, 0.4], [0.9, 0.4, 0.0]]
        assert backward_order([0.3, 0.4, 0.5], costs) == [0, 1, 2]
        assert backward_order([0.5, 0.4, 0.3], costs) == [2, 1, 0]

    def test_each_cost_is_that_to_the_next_teacher(self) -> None:
        # From 0 to 2 it is cheap, from 2 to 0 it is not; 0 must come just before 2.
        assert backward_order([0.1, 0.2, 0.3], [[0, 0.9, 0.1], [0.9, 0, 0.8], [0.9, 0.9, 0]]) == [1, 0, 2]

    def test_teachers_without_a_common_level_come_first(self) -> None:
        infinite = float("inf")
        assert backward_order([0.2, 0.1, 0.3], [[0, 1, infinite], [1, 0, 0.5], [1, 1, 0]]) == [0, 1, 2]
