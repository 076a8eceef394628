"""Measures how well a linear map turns the feature maps of one detector into those of another."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fgd_core.methods.levels import Pair
from fgd_core.methods.per_level import resample
from fgd_core.ranks import total_over_ranks, world_size


class LinearFit:
    """The least-squares fit of a 1x1 convolution with bias, over any number of batches.

    Only sums are kept, in float64, so memory does not grow with the number of cells.
    """

    def __init__(self) -> None:
        self._count = 0
        self._sums: tuple[Tensor, ...] = ()

    def add(self, source: Tensor, target: Tensor) -> None:
        """Add a batch of maps.

        Args:
            source: (N, C, H, W).
            target: (N, C', H, W).
        """
        x, y = (maps.detach().double().movedim(1, -1).flatten(end_dim=-2) for maps in (source, target))  # (NHW, C)
        sums = x.sum(0), y.sum(0), x.T @ x, x.T @ y, y.square().sum()
        self._count += len(x)
        self._sums = tuple(map(torch.add, self._sums, sums)) if self._sums else sums

    def residual(self) -> float:
        """Return the part of the target's variance that the best map leaves, in [0, 1]; 0 if the target is constant."""
        sum_x, sum_y, xx, xy, yy = map(total_over_ranks, self._sums)
        count = world_size() * self._count
        covariance = xx - torch.outer(sum_x, sum_x) / count
        shared = xy - torch.outer(sum_x, sum_y) / count
        variance = float(yy - sum_y.square().sum() / count)
        if variance <= 0:
            return 0.0
        # By the pseudo-inverse: channels may be constant, or sums of others.
        explained = float((shared * (torch.linalg.pinv(covariance, hermitian=True) @ shared)).sum())
        return min(1.0, max(0.0, 1 - explained / variance))


class AdaptationFit:
    """The adaptation cost between two detectors, over any number of batches.

    Args:
        pairs: the levels to compare, as `match_levels` pairs them.
    Source: arXiv:2308.09105, §3.3. As we read it: the residual of the best linear map, relative to the variance.
    """

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self._pairs = pairs
        self._fits = [LinearFit() for _ in pairs]

    def add(self, source: Sequence[Tensor], target: Sequence[Tensor]) -> None:
        """Add the pyramids of a batch; where cells differ, the target's map is interpolated.

        Args:
            source: the levels from fine to coarse, each (N, C, H, W).
            target: the levels of the other detector for the same images, each (N, C', H', W').
        """
        for pair, fit in zip(self._pairs, self._fits, strict=True):
            maps = source[pair.student]
            fit.add(maps, resample(target[pair.teacher], pair.cells_per_cell, maps))

    def cost(self) -> float:
        """Return the mean over the levels, in [0, 1]."""
        return sum(fit.residual() for fit in self._fits) / len(self._fits)


def adaptation_cost(source: Tensor, target: Tensor) -> float:
    """Return the part of the target's variance that no linear map of the source's channels explains.

    Args:
        source: (N, C, H, W).
        target: (N, C', H, W).
    Returns:
        In [0, 1]: 0 if a 1x1 convolution with bias turns `source` into `target`.
    """
    fit = LinearFit()
    fit.add(source, target)
    return fit.residual()


def backward_order(aps: Sequence[float], costs: Sequence[Sequence[float]]) -> list[int]:
    """Put teachers in the order of training: greedily, backwards from the strongest one.

    Args:
        aps: of each teacher.
        costs: `costs[i][j]` is the adaptation cost from teacher i to teacher j.
    Returns:
        Indices of the teachers. The last one has the highest AP, and before each one comes the teacher with the lowest
        cost to it. Of equal teachers, the first in the list comes last.
    Source: arXiv:2308.09105, §3.3.
    """
    left = list(range(len(aps)))
    order = [max(left, key=lambda teacher: aps[teacher])]
    left.remove(order[0])
    while left:
        nearest = min(left, key=lambda teacher: costs[teacher][order[0]])
        order.insert(0, nearest)
        left.remove(nearest)
    return order
