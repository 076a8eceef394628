"""PED-ANOVA: in which dimensions the best trials are distributed differently from all trials.

Written with NumPy and SciPy, because the control plane needs Optuna for nothing else. The tests compare the figures
with Optuna's.

Source: Watanabe, Bansal and Hutter, arXiv:2304.10255, in Optuna's variant with conditional dimensions
(arXiv:2601.20800).
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue
from scipy import special

from fgd_core.spec.dimensions import Choice, Dimension, Integers, LogUniform
from fgd_core.spec.study_state import Direction

MIN_TOP = 5
"""The least number of best trials. Optuna recommends this number; its default, a tenth of the trials, may be one."""
_STEPS = 50
"""Steps of the grid over a range of numbers."""
_MIN_SIGMA = 0.5 / 1.64
"""In steps of the grid: a narrow kernel has 90 % of its weight within one step."""

_Floats: TypeAlias = npt.NDArray[np.float64]
_Trials: TypeAlias = Sequence[tuple[Mapping[str, JsonValue], float]]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Gridded:
    """The n trials that a dimension applies to."""

    trials: npt.NDArray[np.intp]
    """(n,) numbers of the trials."""
    places: npt.NDArray[np.intp]
    """(n,) values of the trials, as places on a grid."""
    size: int
    has_order: bool


def shares(trials: _Trials, dimensions: Mapping[str, Dimension], direction: Direction) -> dict[str, float]:
    """The importance of each dimension. They sum to 1, or are all 0 if the best trials are distributed like the rest.

    Args:
        trials: (values by field path, objective); values lie inside their dimensions, and a dimension that does not
            apply has no value.
    """
    is_top = _is_top(trials, direction)
    found = {path: _divergence(_gridded(path, dimension, trials), is_top) for path, dimension in dimensions.items()}
    total = sum(found.values())
    return {path: found[path] / total if total > 0 else 0.0 for path in dimensions}


def _is_top(trials: _Trials, direction: Direction) -> npt.NDArray[np.bool_]:
    losses = np.array([objective for _, objective in trials]) * (-1 if direction == "maximize" else 1)
    quantile = min(0.5, max(0.1, MIN_TOP / len(trials)))
    kept: npt.NDArray[np.bool_] = losses <= np.sort(losses)[math.ceil(quantile * len(losses)) - 1]
    return kept


def _gridded(path: str, dimension: Dimension, trials: _Trials) -> _Gridded:
    numbers = [number for number, (values, _) in enumerate(trials) if path in values]
    found = [trials[number][0][path] for number in numbers]
    if isinstance(dimension, Choice):
        choices = [json.dumps(value) for value in dimension.values]
        places = np.array([choices.index(json.dumps(value)) for value in found], np.intp)
        return _Gridded(trials=np.array(numbers, np.intp), places=places, size=len(choices), has_order=False)
    is_log = isinstance(dimension, LogUniform) or (isinstance(dimension, Integers) and dimension.log)
    low, high = (math.log(end) if is_log else float(end) for end in (dimension.low, dimension.high))
    size = _STEPS
    if isinstance(dimension, Integers):
        count = dimension.high - dimension.low + 1
        size = min(math.ceil(math.log2(count)) + 1 if is_log else count, _STEPS)
    at = np.array(found, np.float64)
    width = (high - low) / (size - 1) if size > 1 and high > low else 1.0
    # Half-way between two places belongs to the lower one, as in Optuna.
    places = np.ceil(((np.log(at) if is_log else at) - low) / width - 0.5).astype(np.intp)
    is_single = high == low
    return _Gridded(
        trials=np.array(numbers, np.intp),
        places=np.clip(places, 0, size - 1),
        size=1 if is_single else size,
        has_order=True,
    )


def _divergence(grid: _Gridded, is_top: npt.NDArray[np.bool_]) -> float:
    """Pearson's divergence between the best trials and all trials, on one dimension."""
    top = grid.places[is_top[grid.trials]]
    if grid.size < 2 or len(grid.places) < 2 or len(top) == 0:
        return 0.0
    of_top, of_all = (_density(places, grid) + 1e-12 for places in (top, grid.places))
    weight = (len(top) / is_top.sum()) ** 2 / (len(grid.places) / len(is_top))
    return float(weight * (of_all @ (of_top / of_all - 1) ** 2))


def _density(places: npt.NDArray[np.intp], grid: _Gridded) -> _Floats:
    """(size,) Parzen estimate, with a prior that weighs as much as one trial."""
    counts = np.bincount(places, minlength=grid.size)
    total = counts.sum()
    seen = np.flatnonzero(counts)
    if not grid.has_order:
        kernels = np.eye(grid.size)[seen] + 1 / (len(seen) + 1)
        kernels = np.vstack([kernels / kernels.sum(axis=1, keepdims=True), np.full(grid.size, 1 / grid.size)])
    else:
        weights, middle = counts[seen], (grid.size - 1) / 2
        centres = np.append(seen, middle)
        sigmas = np.append(np.full(len(seen), _bandwidth(seen, weights)), grid.size)
        edges = (np.arange(grid.size + 1) - 0.5 - centres[:, None]) / sigmas[:, None] / math.sqrt(2)
        below = special.erf(edges)
        kernels = np.diff(below, axis=1) / (below[:, -1:] - below[:, :1])
    density: _Floats = np.append(counts[seen], 1) @ kernels / (total + 1)
    return density


def _bandwidth(seen: npt.NDArray[np.intp], weights: npt.NDArray[np.intp]) -> float:
    """Scott's rule, in steps of the grid."""
    total, running = int(weights.sum()), np.cumsum(weights)
    mean = seen @ weights / total
    deviation = math.sqrt((seen - mean) ** 2 @ weights / max(1, total - 1))
    first = seen[np.searchsorted(running, total // 4, side="left")]
    third = seen[min(len(seen) - 1, int(np.searchsorted(running, total * 3 // 4, side="right")))]
    return max(_MIN_SIGMA, 1.059 * min(float(third - first) / 1.34, deviation) * math.pow(total, -0.2))
