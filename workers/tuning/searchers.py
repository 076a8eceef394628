"""All searchers. Most are Optuna's samplers, two need no model, and one asks a class of Ray Tune's."""

import itertools
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial
from pydantic import JsonValue
from scipy.stats import qmc

from fgd_core.spec.dimensions import Choice, Dimension, Integers, LogUniform, Uniform
from fgd_core.spec.search import (
    CmaEs,
    GaussianProcess,
    Grid,
    Nsga2,
    Objective,
    QuasiRandom,
    Random,
    SearcherSpec,
    Tpe,
    TuneSearch,
)
from workers.tuning import tune_searcher
from workers.tuning.searching import Searcher, Values
from workers.tuning.space import Space

optuna.logging.set_verbosity(optuna.logging.WARNING)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


_Build: TypeAlias = Callable[[Any, Space, Sequence[Objective], int], Searcher]


def build_searcher(spec: SearcherSpec, space: Space, objectives: Sequence[Objective], seed: int) -> Searcher:
    """Build the searcher that the spec names."""
    return SEARCHERS[type(spec)](spec, space, objectives, seed)


class _OptunaSearcher:
    """Suggests values with an Optuna sampler, over an Optuna study in memory."""

    def __init__(self, space: Space, objectives: Sequence[Objective], sampler: BaseSampler) -> None:
        self._space = space
        self._is_single = len(objectives) == 1
        directions = [StudyDirection[objective.direction.upper()] for objective in objectives]
        self._study = optuna.create_study(directions=directions, sampler=sampler)
        self._trials: dict[int, Trial] = {}

    def ask(self, number: int) -> dict[str, JsonValue] | None:
        trial = self._trials[number] = self._study.ask()
        return self._space.draw(lambda path, dimension: _suggest(trial, path, dimension))

    def asked(self, number: int, values: Values) -> None:
        if not self._space.contains(values):
            return
        self._study.enqueue_trial(_parameters(self._space, values))
        self.ask(number)

    def report(self, number: int, epoch: int, value: float) -> None:
        if self._is_single and number in self._trials:
            self._trials[number].report(value, epoch)

    def tell(self, number: int, objectives: Sequence[float] | None, *, is_complete: bool) -> None:
        trial = self._trials.pop(number, None)
        if trial is None:
            return
        if objectives is None:
            self._study.tell(trial, state=TrialState.FAIL)
        elif is_complete:
            self._study.tell(trial, list(objectives))
        else:
            self._study.tell(trial, state=TrialState.PRUNED)

    def learn(self, values: Values, objectives: Sequence[float]) -> None:
        self._study.add_trial(_finished(self._space, values, objectives))


class _SequenceSearcher(Searcher):
    """Suggests the points of a sequence; it learns nothing."""

    def __init__(self, at: Callable[[int], dict[str, JsonValue] | None]) -> None:
        self._at = at
        self._next = 0

    def ask(self, number: int) -> dict[str, JsonValue] | None:
        self._next += 1
        return self._at(self._next - 1)


def _grid(spec: Grid, space: Space, objectives: Sequence[Objective], seed: int) -> Searcher:
    points = list(_grid_points(space))
    return _SequenceSearcher(lambda index: points[index] if index < len(points) else None)


def _quasi_random(spec: QuasiRandom, space: Space, objectives: Sequence[Objective], seed: int) -> Searcher:
    paths = list(space.dimensions)

    def at(index: int) -> dict[str, JsonValue]:
        sequence = qmc.Sobol(len(paths), scramble=True, rng=seed)
        if index:
            sequence.fast_forward(index)
        point = dict(zip(paths, sequence.random(1)[0].tolist(), strict=True))
        return space.draw(lambda path, dimension: space.at(dimension, point[path]))

    return _SequenceSearcher(at)


def _optuna(sampler: Callable[[Any, int], BaseSampler]) -> _Build:
    return lambda spec, space, objectives, seed: _OptunaSearcher(space, objectives, sampler(spec, seed))


def _tpe(spec: Tpe, seed: int) -> BaseSampler:
    # Multivariate: FGD's weights compensate for each other. Constant liar: a running trial counts as a bad one, so that
    # trials at the same time try different regions.
    return TPESampler(
        n_startup_trials=spec.startup_trials, seed=seed, multivariate=True, group=True, constant_liar=True
    )


def _cma_es(spec: CmaEs, seed: int) -> BaseSampler:
    return CmaEsSampler(seed=seed, n_startup_trials=spec.startup_trials, warn_independent_sampling=False)


SEARCHERS: Mapping[type, _Build] = {
    Random: _optuna(lambda spec, seed: RandomSampler(seed)),
    Grid: _grid,
    QuasiRandom: _quasi_random,
    Tpe: _optuna(_tpe),
    GaussianProcess: _optuna(lambda spec, seed: GPSampler(seed=seed, n_startup_trials=spec.startup_trials)),
    CmaEs: _optuna(_cma_es),
    Nsga2: _optuna(lambda spec, seed: NSGAIISampler(population_size=spec.population, seed=seed)),
    TuneSearch: tune_searcher.build,
}


def _grid_points(space: Space) -> Iterator[dict[str, JsonValue]]:
    sides = [space.grid(dimension) for dimension in space.dimensions.values()]
    seen: list[dict[str, JsonValue]] = []
    for corner in itertools.product(*sides):
        chosen = dict(zip(space.dimensions, corner, strict=True))
        point = space.draw(partial(lambda values, path, _: values[path], chosen))
        # Points that differ only in a dimension that a condition turns off are the same point.
        if point not in seen:
            seen.append(point)
            yield point


def _suggest(trial: Trial, path: str, dimension: Dimension) -> JsonValue:
    match dimension:
        case Uniform():
            return trial.suggest_float(path, dimension.low, dimension.high)
        case LogUniform():
            return trial.suggest_float(path, dimension.low, dimension.high, log=True)
        case Integers():
            return trial.suggest_int(path, dimension.low, dimension.high, log=dimension.log)
        case Choice():
            # By position: Optuna accepts no lists or objects as choices.
            return dimension.values[trial.suggest_categorical(path, range(len(dimension.values)))]


def _finished(space: Space, values: Values, objectives: Sequence[float]) -> FrozenTrial:
    parameters = _parameters(space, values)
    distributions = {path: _distribution(space.dimensions[path]) for path in parameters}
    return create_trial(params=parameters, distributions=distributions, values=list(objectives))


def _parameters(space: Space, values: Values) -> dict[str, JsonValue]:
    """Convert values to Optuna's parameters."""
    return {path: _parameter(space.dimensions[path], value) for path, value in values.items()}


def _parameter(dimension: Dimension, value: JsonValue) -> JsonValue:
    return dimension.values.index(value) if isinstance(dimension, Choice) else value


def _distribution(dimension: Dimension) -> BaseDistribution:
    match dimension:
        case Uniform():
            return FloatDistribution(dimension.low, dimension.high)
        case LogUniform():
            return FloatDistribution(dimension.low, dimension.high, log=True)
        case Integers():
            return IntDistribution(dimension.low, dimension.high, log=dimension.log)
        case Choice():
            return CategoricalDistribution(range(len(dimension.values)))
