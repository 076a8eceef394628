"""Compares losses of heads with values computed by hand."""

from math import log
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torchvision.ops import box_iou

from fgd_core.boxes import paired_iou
from fgd_core.detectors.parts.generalised_focal import (
    distribution_focal_loss,
    expected_distance,
    quality_focal_loss,
)
from fgd_core.ranks import mean_over_ranks


class TestQualityFocalLoss:
    @pytest.mark.parametrize(
        ("logit", "quality", "expected"),
        [
            (0.0, 0.5, 0.0),  # the score equals the quality
            (0.0, 1.0, 0.25 * log(2)),
            (0.0, 0.25, 0.0625 * log(2)),
            (log(3), 0.0, 0.5625 * log(4)),  # 0.75 sure of background
            (log(3), 0.5, 0.0625 * (0.5 * log(4 / 3) + 0.5 * log(4))),
        ],
    )
    def test_is_the_cross_entropy_weighted_by_the_square_of_the_error(
        self, logit: float, quality: float, expected: float
    ) -> None:
        loss = quality_focal_loss(torch.tensor([logit]), torch.tensor([quality]))
        torch.testing.assert_close(loss, torch.tensor([expected]))


class TestDistributionFocalLoss:
    def test_weighs_the_two_bins_around_the_distance_by_nearness(self) -> None:
        logits = torch.tensor([[0.1, 0.6, 0.3]]).log()
        loss = distribution_focal_loss(logits, torch.tensor([1.25]))
        torch.testing.assert_close(loss, torch.tensor([-0.75 * log(0.6) - 0.25 * log(0.3)]))

    def test_is_zero_for_a_perfect_distribution(self) -> None:
        certain = torch.full((1, 5), -1e3)
        certain[0, 2] = 1e3
        assert distribution_focal_loss(certain, torch.tensor([2.0])) == 0
        assert distribution_focal_loss(certain, torch.tensor([3.0])) > 0


class TestExpectedDistance:
    def test_of_a_one_hot_is_its_bin(self) -> None:
        one_hot = torch.full((17, 17), -1e3).fill_diagonal_(1e3)
        assert expected_distance(one_hot).tolist() == list(range(17))

    def test_is_the_mean_over_bins(self) -> None:
        torch.testing.assert_close(expected_distance(torch.tensor([[0.5, 0.25, 0.25]]).log()), torch.tensor([0.75]))


def test_paired_iou_is_the_diagonal_of_all_pairs() -> None:
    corners = torch.rand(50, 2, 2, generator=torch.Generator().manual_seed(0))
    one = torch.cat([corners.amin(1), corners.amax(1)], dim=1)
    other = one.roll(1, dims=0)
    torch.testing.assert_close(paired_iou(one, other), box_iou(one, other).diagonal())
    assert paired_iou(torch.zeros(1, 4), torch.zeros(1, 4)) == 0


class TestMeanOverRanks:
    def test_averages_over_processes(self, tmp_path: Path) -> None:
        mp.start_processes(_count_on, args=(tmp_path,), nprocs=2, start_method="fork")
        assert [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)] == [5.5, 5.5]

    def test_returns_the_value_of_a_single_process_without_gradient(self) -> None:
        count = torch.tensor(3.0, requires_grad=True)
        assert mean_over_ranks(count) == 3
        assert not mean_over_ranks(count).requires_grad


def _count_on(rank: int, folder: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    torch.save(mean_over_ranks(torch.tensor([4.0, 7.0][rank])), folder / f"{rank}.pt")
    dist.destroy_process_group()
