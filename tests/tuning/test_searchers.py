"""One contract suite for all searchers."""

import math
import random
from pathlib import Path
from typing import Any

import pytest
from function_trials import Memory, run, sweep
from pydantic import JsonValue
from ray.tune.search import Searcher as RaySearcher

from fgd_core.errors import SpecError
from fgd_core.spec.kinds.distill import DistillSpec
from fgd_core.spec.kinds.train import TrainSpec
from fgd_core.spec.search import Objective, SearcherSpec
from fgd_core.spec.trials import EarlierTrial, TrialEnded, TrialStarted
from workers.tuning.searchers import SEARCHERS, build_searcher
from workers.tuning.searching import Searcher
from workers.tuning.space import Space

CONTINUOUS: dict[str, Any] = {
    "method.alpha": {"type": "log_uniform", "low": 1e-5, "high": 1e-1},
    "method.temperature": {"type": "uniform", "low": 0.1, "high": 5.0},
}
CHOICES: dict[str, Any] = {
    "training.batch_size": {"type": "integers", "low": 2, "high": 32, "log": True},
    "training.schedule.type": {"type": "choice", "values": ["step", "cosine"]},
    "training.schedule.final_fraction": {
        "type": "choice",
        "values": [0.0, 0.1],
        "when": {"field": "training.schedule.type", "is_in": ["cosine"]},
    },
}
TUNE = {
    "hyperopt": {
        "type": "tune",
        "name": "ray.tune.search.hyperopt.HyperOptSearch",
        "settings": {"n_initial_points": 5},
    },
    "optuna": {"type": "tune", "name": "ray.tune.search.optuna.OptunaSearch"},
}
NAMES: dict[str, dict[str, Any]] = {
    **{name: {"type": name} for kind in SEARCHERS if (name := kind.model_fields["type"].default) != "tune"},
    **TUNE,
}


def searched_space(name: str) -> Space:
    dimensions = CHOICES if name == "grid" else CONTINUOUS | CHOICES
    spec = sweep(dimensions, searcher=NAMES[name])
    return Space(spec.dimensions(), spec.base.model_dump(mode="json"))


def asked(name: str, seed: int, num_trials: int, *, kill_at: int | None = None) -> list[dict[str, JsonValue]]:
    """Return the values of the first trials; the searcher gets their results, and is rebuilt at `kill_at`."""
    space = searched_space(name)
    spec = sweep(CHOICES if name == "grid" else CONTINUOUS | CHOICES, searcher=NAMES[name]).searcher
    searcher = build_searcher(spec, space, [Objective()], seed)
    found: list[dict[str, JsonValue]] = []
    for number in range(num_trials):
        if number == kill_at:
            searcher = build_searcher(spec, space, [Objective()], seed)
            for earlier, values in enumerate(found):
                assert searcher.ask(earlier) == values
                _tell(searcher, earlier, values)
        values_ = searcher.ask(number)
        if values_ is None:
            break
        found.append(values_)
        _tell(searcher, number, values_)
    return found


def _tell(searcher: Any, number: int, values: dict[str, JsonValue]) -> None:
    value = float(len(str(sorted(values.items()))) % 7)
    searcher.report(number, 1, value)
    if number % 4 == 3:
        searcher.tell(number, None, is_complete=False)
    else:
        searcher.tell(number, [value], is_complete=number % 4 != 2)


def test_the_table_and_the_spec_list_the_same_types() -> None:
    union = SearcherSpec.__args__[0].__args__
    assert set(union) == set(SEARCHERS)


@pytest.mark.parametrize("name", NAMES)
class TestContract:
    def test_values_are_inside_the_space(self, name: str) -> None:
        space = searched_space(name)
        assert all(space.contains(values) for values in asked(name, 5, 20))

    def test_the_same_seed_gives_the_same_trials(self, name: str) -> None:
        assert asked(name, 5, 16) == asked(name, 5, 16)

    def test_another_seed_gives_other_trials(self, name: str) -> None:
        if name == "grid":
            pytest.skip("a grid is not random")
        assert asked(name, 5, 6) != asked(name, 6, 6)

    def test_a_rebuilt_searcher_gives_the_same_trials(self, name: str) -> None:
        assert asked(name, 5, 16, kill_at=11) == asked(name, 5, 16)

    def test_values_of_a_user_are_accepted(self, name: str, tmp_path: Path) -> None:
        spec = sweep(CHOICES if name == "grid" else CONTINUOUS | CHOICES, searcher=NAMES[name])
        searcher = build_searcher(spec.searcher, searched_space(name), [Objective()], 0)
        given = asked(name, 9, 1)[0]
        searcher.asked(0, given)
        searcher.tell(0, [0.9], is_complete=True)
        searcher.asked(1, {"method.gamma": 1.0})
        searcher.tell(1, [0.9], is_complete=True)
        assert searcher.ask(2) is not None


class RandomSearch(RaySearcher):
    """A searcher as users write them."""

    def __init__(self, seed: int | None) -> None:
        super().__init__()
        self._rng = random.Random(seed)

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        return True

    def drawn(self) -> dict[str, float]:
        return {path: self._rng.uniform(each["low"], each["high"]) for path, each in CONTINUOUS.items()}

    def suggest(self, trial_id: str) -> dict[str, float]:
        return self.drawn()

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        return


class Unseeded(RandomSearch):
    """As many classes are that nobody has seeded."""

    def __init__(self) -> None:
        super().__init__(seed=None)


class TestTune:
    def built(self, **searcher: Any) -> Searcher:
        spec = sweep(CONTINUOUS, searcher={"type": "tune", **searcher})
        return build_searcher(spec.searcher, Space(spec.dimensions(), {}), [Objective()], 3)

    def test_a_users_own_class_suggests_the_values(self) -> None:
        assert self.built(name=f"{__name__}.RandomSearch").ask(0) == RandomSearch(3).drawn()

    def test_a_class_that_suggests_other_values_when_it_is_built_again_is_refused_by_name(self) -> None:
        with pytest.raises(SpecError, match="Unseeded suggests other values when its calls are repeated"):
            self.built(name=f"{__name__}.Unseeded")

    @pytest.mark.parametrize(
        ("name", "why"),
        [
            ("ray.tune.search.bayesopt.BayesOptSearch", "cannot be used: BayesOpt must be installed"),
            ("nowhere.Search", "cannot be loaded .*install its package"),
            ("json.JSONDecoder", "no subclass of ray.tune.search.Searcher"),
        ],
    )
    def test_a_class_that_cannot_be_used_is_refused_by_name(self, name: str, why: str) -> None:
        with pytest.raises(SpecError, match=f"{name}.*{why}"):
            self.built(name=name)

    def test_settings_that_the_class_does_not_know_are_refused_by_name(self) -> None:
        with pytest.raises(SpecError, match=r"cannot be used: .*'gama'"):
            self.built(**TUNE["hyperopt"] | {"settings": {"gama": 0.1}})


def test_a_grid_is_every_combination_once() -> None:
    found = asked("grid", 0, 1000)
    # 31 batch sizes; a step schedule has no final fraction.
    assert len(found) == 31 * 3
    assert len({str(values) for values in found}) == len(found)


def test_a_warm_start_finds_better_values(tmp_path: Path) -> None:
    def value(spec: TrainSpec | DistillSpec, epoch: int) -> float:
        assert isinstance(spec, DistillSpec)
        return math.exp(-((math.log10(spec.method.alpha) + 4.5) ** 2) * 8)

    space = {"method.alpha": CONTINUOUS["method.alpha"]}
    settings: dict[str, Any] = {"scheduler": {"type": "none"}, "epochs": 1, "baselines": False}
    first = Memory(tmp_path / "first")
    run(sweep(space, budget={"trials": 25}, **settings), value, first)
    learnt = earlier(first, counts=False)
    cold, warm = [], []
    for seed in range(7):
        found = []
        for known in ([], learnt):
            memory = Memory(tmp_path / f"{seed} {len(known)}", earlier=known)
            result, _ = run(sweep(space, budget={"trials": 3}, seed=seed, **settings), value, memory)
            assert result.result is not None and result.result.scores.ap is not None
            found.append(result.result.scores.ap)
        cold.append(found[0])
        warm.append(found[1])
    assert sorted(warm)[3] > sorted(cold)[3]


def test_a_fork_does_not_repeat_trials(tmp_path: Path) -> None:
    def value(spec: TrainSpec | DistillSpec, epoch: int) -> float:
        assert isinstance(spec, DistillSpec)
        return spec.method.temperature / 10

    settings: dict[str, Any] = {"scheduler": {"type": "none"}, "epochs": 2, "baselines": False}
    first, second = Memory(tmp_path / "first"), Memory(tmp_path / "second")
    narrow = {"method.temperature": {"type": "uniform", "low": 0.1, "high": 3.0}}
    wide = {"method.temperature": {"type": "uniform", "low": 0.1, "high": 5.0}}
    run(sweep(wide, budget={"trials": 6}, **settings), value, first)
    second.earlier = earlier(first, counts=True)
    inside = [each for each in second.earlier if each.values["method.temperature"] <= 3.0]  # type: ignore[operator]
    assert 0 < len(inside) < 6
    _, executor = run(sweep(narrow, budget={"trials": 6}, **settings), value, second)
    assert executor.epochs_run == 2 * (6 - len(inside))
    origins = [event.origin for event in second.events if isinstance(event, TrialStarted)]
    assert origins == ["fork"] * len(inside) + ["searcher"] * (6 - len(inside))


def test_a_forked_trial_is_repeated_with_other_seeds_than_its_own(tmp_path: Path) -> None:
    def value(spec: TrainSpec | DistillSpec, epoch: int) -> float:
        assert isinstance(spec, DistillSpec)
        return spec.method.temperature / 10

    settings: dict[str, Any] = {"scheduler": {"type": "none"}, "epochs": 1, "baselines": False}
    space = {"method.temperature": {"type": "uniform", "low": 0.1, "high": 3.0}}
    first, second = Memory(tmp_path / "first"), Memory(tmp_path / "second")
    run(sweep(space, budget={"trials": 1}, seed=1, **settings), value, first)
    second.earlier = earlier(first, counts=True)
    run(sweep(space, budget={"trials": 2}, seeds=3, finalists=2, **settings), value, second)
    started = [event for event in second.events if isinstance(event, TrialStarted)]
    assert {each.origin: each.seed for each in started if each.repeats is None} == {"fork": 1, "searcher": 0}
    seeds = {root: [each.seed for each in started if each.repeats == root] for root in (0, 1)}
    assert seeds == {0: [0, 2], 1: [1, 2]}


def earlier(memory: Memory, *, counts: bool) -> list[EarlierTrial]:
    started = {event.trial: event for event in memory.events if isinstance(event, TrialStarted)}
    ended = {event.trial: event for event in memory.events if isinstance(event, TrialEnded)}
    return [
        EarlierTrial(
            job_id="first",
            trial=number,
            counts=counts,
            values=start.values,
            seed=start.seed,
            reports=[],
            ended=ended[number],
        )
        for number, start in started.items()
    ]
