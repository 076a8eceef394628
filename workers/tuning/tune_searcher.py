"""A searcher of Ray Tune, or a user's own class with its interface, as a searcher of the study.

The study rebuilds its searcher by repeating all calls in their order. That needs a class whose suggestions depend only
on its seed and its calls, so each class is tried before it is used.
"""

import importlib
import inspect
import math
from collections.abc import Sequence
from typing import Any

from pydantic import JsonValue
from ray import tune
from ray.tune.search import Searcher as RaySearcher

from fgd_core.errors import SpecError
from fgd_core.spec.dimensions import Choice, Dimension, Integers, LogUniform, Uniform
from fgd_core.spec.search import Objective, TuneSearch
from workers.tuning.searching import Searcher, Values
from workers.tuning.space import Space

_SEEDS = ("seed", "random_state_seed", "random_state")
"""What Tune's classes call their seed."""
_TRIED_TRIALS = 24
"""More than the random trials with which most classes begin."""


def build(spec: TuneSearch, space: Space, objectives: Sequence[Objective], seed: int) -> Searcher:
    """Build the searcher that the spec names.

    Raises:
        SpecError: the class cannot be loaded or does not take these settings or this space, or its suggestions are
            different when its calls are repeated.
    """
    first, second = (_try(_TuneSearcher(spec, space, objectives[0], seed)) for _ in range(2))
    if first != second:
        raise SpecError(
            f"{spec.name} suggests other values when its calls are repeated, so a sweep that is interrupted could not "
            "continue with it; set its seed in searcher.settings, or use another searcher",
            name=spec.name,
        )
    return _TuneSearcher(spec, space, objectives[0], seed)


class _TuneSearcher(Searcher):
    """Passes the calls of the study on. A class without `add_evaluated_point` learns nothing from a user's trials."""

    def __init__(self, spec: TuneSearch, space: Space, objective: Objective, seed: int) -> None:
        self._space, self._metric = space, objective.metric
        self._searcher = _make(spec, seed)
        self._suggested: set[int] = set()
        self._given: dict[int, Values] = {}
        """The trials with values of a user, until their end."""
        domains = {path: _domain(dimension) for path, dimension in space.dimensions.items()}
        mode = "max" if objective.direction == "maximize" else "min"
        try:
            accepts = self._searcher.set_search_properties(self._metric, mode, domains)
        except (ValueError, TypeError, NotImplementedError) as error:
            raise SpecError(f"{spec.name} cannot search this space: {error}", name=spec.name) from error
        if not accepts:
            message = f"{spec.name} does not take the sweep's space; leave space and metric out of searcher.settings"
            raise SpecError(message, name=spec.name)

    def ask(self, number: int) -> dict[str, JsonValue] | None:
        suggested = self._searcher.suggest(str(number))
        if suggested is None or suggested == RaySearcher.FINISHED:
            return None
        self._suggested.add(number)
        # Tune's spaces have no conditions: a dimension that is turned off is left out here.
        return self._space.draw(lambda path, dimension: _value(dimension, suggested[path]))

    def asked(self, number: int, values: Values) -> None:
        self._given[number] = values

    def report(self, number: int, epoch: int, value: float) -> None:
        if number in self._suggested:
            self._searcher.on_trial_result(str(number), {self._metric: value, "training_iteration": epoch})

    def tell(self, number: int, objectives: Sequence[float] | None, *, is_complete: bool) -> None:
        given = self._given.pop(number, None)
        if number in self._suggested:
            self._suggested.discard(number)
            result = {self._metric: objectives[0]} if objectives else None
            self._searcher.on_trial_complete(str(number), result, error=objectives is None)
        elif given is not None and objectives:
            self.learn(given, objectives)

    def learn(self, values: Values, objectives: Sequence[float]) -> None:
        can_learn = type(self._searcher).add_evaluated_point is not RaySearcher.add_evaluated_point
        if can_learn and self._space.contains(values) and set(values) == set(self._space.dimensions):
            point = {path: _parameter(self._space.dimensions[path], value) for path, value in values.items()}
            self._searcher.add_evaluated_point(point, objectives[0])


def _make(spec: TuneSearch, seed: int) -> Any:
    kind = _load(spec.name)
    seeds = [name for name in _SEEDS if name in inspect.signature(kind).parameters]
    try:
        return kind(**{**dict.fromkeys(seeds, seed), **spec.settings})
    # Tune's classes check with assertions whether their package is installed.
    except (AssertionError, ImportError, TypeError, ValueError) as error:
        raise SpecError(f"{spec.name} cannot be used: {error}", name=spec.name) from error


def _load(name: str) -> type[Any]:
    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        message = f"the searcher {name!r} cannot be loaded ({error}); install its package where sweeps run"
        raise SpecError(message, name=name) from error
    if not (isinstance(found, type) and issubclass(found, RaySearcher)):
        raise SpecError(f"{name!r} is no subclass of ray.tune.search.Searcher; name one", name=name)
    return found


def _try(searcher: _TuneSearcher) -> list[dict[str, JsonValue] | None]:
    """Return the suggestions for made-up trials, of which some fail."""
    found = []
    for number in range(_TRIED_TRIALS):
        found.append(searcher.ask(number))
        if found[-1] is None:
            break
        searcher.report(number, 1, math.sin(number))
        searcher.tell(number, None if number % 5 == 4 else [math.sin(number)], is_complete=True)
    return found


def _domain(dimension: Dimension) -> object:
    match dimension:
        case Uniform():
            return tune.uniform(dimension.low, dimension.high)
        case LogUniform():
            return tune.loguniform(dimension.low, dimension.high)
        case Integers():
            # Without the upper end.
            return (tune.lograndint if dimension.log else tune.randint)(dimension.low, dimension.high + 1)
        case Choice():
            # By position: some classes accept no lists or objects as choices.
            return tune.choice(range(len(dimension.values)))


def _value(dimension: Dimension, suggested: float) -> JsonValue:
    match dimension:
        case Choice():
            return dimension.values[int(suggested)]
        case Integers():
            return min(max(round(suggested), dimension.low), dimension.high)
        case _:
            return min(max(float(suggested), dimension.low), dimension.high)


def _parameter(dimension: Dimension, value: JsonValue) -> JsonValue:
    return dimension.values.index(value) if isinstance(dimension, Choice) else value
