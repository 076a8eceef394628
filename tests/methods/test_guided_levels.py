"""Semantic-guided imitation: weights over levels, not over regions."""

import pytest
import torch
from torch import Tensor

from fgd_core.methods.parts.guided_levels import GuidedLevels, level_weights


def pooled(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, 7, 7, generator=torch.Generator().manual_seed(seed))


def module(channels: int = 8) -> GuidedLevels:
    torch.manual_seed(3)
    return GuidedLevels(channels)


class TestWeights:
    def test_sum_to_one_over_the_levels_of_each_region(self) -> None:
        """The known re-implementation normalises over the regions instead."""
        weights = module().weights(pooled(4, 5, 8), pooled(5, 8, seed=1))
        assert weights.shape == (4, 5)
        assert weights.sum(0).tolist() == pytest.approx([1] * 5)

    def test_agree_with_plain_loops(self) -> None:
        student = torch.tensor([[[1.0, 0], [0, 2]], [[0, 1], [1, 1]]], dtype=torch.float64)
        teacher = torch.tensor([[1.0, 3], [2, 0]], dtype=torch.float64)
        for region in range(2):
            likeness = torch.stack([(student[level, region] @ teacher[region]) / 2 for level in range(2)])
            expected = likeness.exp() / likeness.exp().sum()
            assert level_weights(student, teacher, 2.0)[:, region].tolist() == pytest.approx(expected.tolist())

    def test_of_a_planted_equal_level_become_large(self) -> None:
        """Level 2 shows the teacher's features, the others noise."""
        guided = module(32)
        optimizer = torch.optim.Adam(guided.parameters(), lr=0.003)
        for step in range(200):
            teacher, student = pooled(16, 32, seed=step), pooled(4, 16, 32, seed=1000 + step)
            student[2] = teacher
            loss = guided(student, teacher)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        teacher, student = pooled(64, 32, seed=5000), pooled(4, 64, 32, seed=6000)
        student[2] = teacher
        assert guided.weights(student, teacher)[2].mean() > 0.9


class TestLoss:
    def test_is_the_mean_over_regions_of_the_mean_squared_difference(self) -> None:
        guided, student, teacher = module(), pooled(3, 5, 8), pooled(5, 8, seed=1)
        weights = guided.weights(student, teacher)
        expected = []
        for region in range(5):
            mixed = sum(weights[level, region] * student[level, region] for level in range(3))
            expected.append((mixed - teacher[region]).square().mean().item())
        assert guided(student, teacher).item() == pytest.approx(sum(expected) / 5, rel=1e-5)

    def test_is_zero_if_every_level_shows_the_teachers_features(self) -> None:
        teacher = pooled(5, 8)
        assert module()(teacher.expand(3, -1, -1, -1, -1), teacher).item() < 1e-10

    def test_without_regions_is_zero_and_gives_every_parameter_a_gradient(self) -> None:
        guided = module()
        loss = guided(pooled(3, 0, 8), pooled(0, 8))
        loss.backward()
        assert loss.item() == 0 and all(each.grad is not None for each in guided.parameters())
