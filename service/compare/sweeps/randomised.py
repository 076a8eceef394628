"""Tests and effects of one dimension, over trials whose values were drawn at random.

The test needs no model of the objective: if a dimension has no effect, its values could as well be shuffled among the
trials. So any statistic has the right error rate, whatever the other dimensions do and however the noise is
distributed. The statistic is the share of the ranks' variance that the dimension explains: by its values (Kruskal and
Wallis), or for a number by a parabola, because weights and rates often have their best value inside the range.
"""

import json
import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue
from scipy import special

from fgd_core.spec.dimensions import Choice, Dimension, Integers, LogUniform
from fgd_core.statistics.power import ASSURANCE, POWER

SHUFFLES = 4999
"""The smallest p-value is 1 / 5000, so that one of 200 dimensions can be found after the correction."""
PARTS = 3
"""Parts of equal size of a range of numbers whose means are compared."""
MOST_TRIALS = 10_000
"""The largest budget of a sweep."""
_RANKS = 3 / math.pi
"""Efficiency of ranks against means for normal noise (Pitman)."""
_CELLS = 2_000_000

_Floats: TypeAlias = npt.NDArray[np.float64]
_Places: TypeAlias = npt.NDArray[np.intp]


@dataclass(frozen=True, kw_only=True, eq=False)
class Drawn:
    """The n trials that a dimension applies to."""

    dimension: Dimension
    values: Sequence[JsonValue]
    objectives: _Floats
    """(n,)"""
    blocks: _Places
    """(n,) trials with the same number may be shuffled; all have 0 if each value was drawn independently."""

    @property
    def levels(self) -> _Places:
        """(n,) which value of a choice, or which part of a range of numbers."""
        if isinstance(self.dimension, Choice):
            known = [json.dumps(value) for value in self.dimension.values]
            return np.array([known.index(json.dumps(value)) for value in self.values], np.intp)
        return np.minimum((_positions(self.dimension, self.values) * PARTS + 1e-9).astype(np.intp), PARTS - 1)

    @property
    def is_testable(self) -> bool:
        """Whether both values and objectives differ within a block."""
        return bool(_columns(self).size) and bool(np.ptp(_within(self.objectives, self.blocks)) > 0)


def p_values(drawn: Mapping[str, Drawn]) -> dict[str, float]:
    """The share of shuffles in which a dimension explains as much as it does, for each testable dimension."""
    found: dict[str, float] = {}
    alike: dict[tuple[bytes, bytes], list[str]] = {}
    for path, each in drawn.items():
        alike.setdefault((each.objectives.tobytes(), each.blocks.tobytes()), []).append(path)
    for paths in alike.values():
        # Dimensions of the same trials share the shuffles, which take most of the time.
        columns = [_columns(drawn[path]) for path in paths]
        explained = _explained(drawn[paths[0]], columns)
        for path, values in zip(paths, explained.T, strict=True):
            found[path] = float((values >= values[0] * (1 - 1e-9)).mean())
    return found


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjust p-values, so that all those at most 0.05 are right together in at least 95 % of cases.

    Source: Holm, A simple sequentially rejective multiple test procedure, Scand. J. Statist. 6 (1979).
    """
    found: dict[str, float] = {}
    for place, path in enumerate(sorted(p_values, key=p_values.__getitem__)):
        most = max(found.values(), default=0.0)
        found[path] = max(most, min(1.0, (len(p_values) - place) * p_values[path]))
    return found


def spread(drawn: Drawn) -> tuple[float, int] | None:
    """The variance of the objective among trials with equal values of the dimension, and its degrees of freedom."""
    levels, rest = drawn.levels, _within(drawn.objectives, drawn.blocks)
    freedom = len(rest) - len(np.unique(drawn.blocks)) - (len(np.unique(levels)) - 1)
    if freedom < 1:
        return None
    return float((_within(rest, levels) ** 2).sum() / freedom), freedom


def trials_needed(
    effect: float, variance: float, freedom: int, *, levels: int, rank: int, significant: float
) -> int | None:
    """Return how many trials the test needs to find a difference of `effect` between two values, with `POWER`.

    All other values lie half-way between, which is the hardest case. The variance is its upper limit, as in
    `fgd_core.statistics.power`.

    Args:
        rank: degrees of freedom of the test: values less one, and 2 for numbers.
        significant: the p-value that the test must reach.
    Returns:
        None if more than `MOST_TRIALS`.
    """
    limit = variance * freedom / float(special.chdtri(freedom, ASSURANCE))
    if effect == 0:
        return None

    def suffices(trials: int) -> bool:
        rest = trials - rank - 1
        if rest < 1 or limit == 0:
            return rest >= 1
        critical = special.fdtri(rank, rest, 1 - significant)
        towards = trials * effect**2 / (2 * levels * limit) * _RANKS
        return bool(1 - special.ncfdtr(rank, rest, towards, critical) >= POWER)

    lowest = bisect_left(range(MOST_TRIALS + 1), True, lo=rank + 2, key=suffices)
    return lowest if lowest <= MOST_TRIALS else None


def part_edges(dimension: Dimension, level: int) -> tuple[float, float]:
    """The ends of one part of a range of numbers; of whole numbers, the smallest and the largest inside."""
    assert not isinstance(dimension, Choice)
    low, high, is_log = _range(dimension)
    ends = [low + (high - low) * place / PARTS for place in (level, level + 1)]
    first, last = (math.exp(end) if is_log else end for end in ends)
    if isinstance(dimension, Integers):
        is_last = level == PARTS - 1
        return math.ceil(first - 1e-6), dimension.high if is_last else math.ceil(last - 1e-6) - 1
    return first, last


def _explained(drawn: Drawn, columns: Sequence[_Floats]) -> _Floats:
    """(1 + SHUFFLES, D) what each dimension explains, of the ranks as they are and then of shuffled ones."""
    # Without the means of the blocks: other values than this dimension's are equal within a block.
    ranks = _within(_ranks(_within(drawn.objectives, drawn.blocks)), drawn.blocks)
    basis = np.concatenate(columns, axis=1)
    ends = np.cumsum([each.shape[1] for each in columns])[:-1]
    dice = np.random.default_rng(0)
    blocks = [np.flatnonzero(drawn.blocks == block) for block in np.unique(drawn.blocks)]
    found, left = [_squares(ranks[None] @ basis, ends)], SHUFFLES
    while left > 0:
        rows = min(left, max(1, _CELLS // len(ranks)))
        shuffled = np.tile(ranks, (rows, 1))
        for block in blocks:
            shuffled[:, block] = dice.permuted(shuffled[:, block], axis=1)
        found.append(_squares(shuffled @ basis, ends))
        left -= rows
    return np.concatenate(found)


def _squares(projected: _Floats, ends: npt.NDArray[np.integer]) -> _Floats:
    """(R, D) sums of squares over the columns of each dimension."""
    parts = [(part**2).sum(axis=1) for part in np.split(projected, ends, axis=1)]
    return np.stack(parts, axis=1)


def _columns(drawn: Drawn) -> _Floats:
    """(n, r) orthonormal columns that the values span within the blocks; r is 0 if the values do not differ."""
    if isinstance(drawn.dimension, Choice):
        levels = drawn.levels
        raw = (levels[:, None] == np.unique(levels)).astype(np.float64)
    else:
        at = _positions(drawn.dimension, drawn.values)
        raw = np.stack([at, at**2], axis=1)
    left, sizes, _ = np.linalg.svd(_within(raw, drawn.blocks), full_matrices=False)
    kept: _Floats = left[:, sizes > 1e-6]
    return kept


def _positions(dimension: Dimension, values: Sequence[JsonValue]) -> _Floats:
    """(n,) from 0 to 1 inside the range."""
    low, high, is_log = _range(dimension)
    at = np.array(values, np.float64)
    return ((np.log(at) if is_log else at) - low) / ((high - low) or 1.0)


def _range(dimension: Dimension) -> tuple[float, float, bool]:
    assert not isinstance(dimension, Choice)
    is_log = isinstance(dimension, LogUniform) or (isinstance(dimension, Integers) and dimension.log)
    low, high = (math.log(end) if is_log else float(end) for end in (dimension.low, dimension.high))
    return low, high, is_log


def _within(values: _Floats, groups: _Places) -> _Floats:
    """Values (n, ...) less the mean of their group."""
    _, at, counts = np.unique(groups, return_inverse=True, return_counts=True)
    sums = np.zeros((len(counts), *values.shape[1:]))
    np.add.at(sums, at, values)
    means = sums / counts.reshape(-1, *[1] * (values.ndim - 1))
    less: _Floats = values - means[at]
    return less


def _ranks(values: _Floats) -> _Floats:
    """(n,) ranks from 1; equal values share their mean rank."""
    _, at, counts = np.unique(values.round(12), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: _Floats = (last - (counts - 1) / 2)[at]
    return ranks
