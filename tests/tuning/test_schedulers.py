"""One contract suite for all schedulers."""

import math
import random
from collections import Counter
from typing import Any

import pytest
from function_trials import Memory, run, sweep
from ray.tune.schedulers import AsyncHyperBandScheduler, MedianStoppingRule

from fgd_core.spec.kinds.distill import DistillSpec
from fgd_core.spec.kinds.train import TrainSpec
from fgd_core.spec.search import Asha, HyperBand, Median, SchedulerSpec
from fgd_core.spec.trials import TrialEnded, TrialReported, TrialStarted
from workers.tuning.schedulers import SCHEDULERS, build_scheduler, rungs
from workers.tuning.space import Space

NAMES = {kind.model_fields["type"].default: kind for kind in SCHEDULERS}
EPOCHS = 9


def value(spec: TrainSpec | DistillSpec, epoch: int) -> float:
    assert isinstance(spec, DistillSpec)
    distance = math.log10(max(spec.method.scale, 1e-9)) + 1.3
    return 0.1 + 0.3 * math.exp(-(distance**2)) * (1 - math.exp(-epoch / 3)) + spec.seed * 1e-4


def searched(name: str, memory: Memory, **settings: Any) -> tuple[Any, Any]:
    population = {"population": 5} if name == "population_based" else {}
    defaults: dict[str, Any] = {"searcher": {"type": "random"}, "budget": {"trials": 14}, "seed": 1}
    return run(sweep(epochs=EPOCHS, scheduler={"type": name, **population}, **(defaults | settings)), value, memory)


def of(memory: Memory, kind: type) -> list[Any]:
    return [event for event in memory.events if isinstance(event, kind)]


def test_the_table_and_the_spec_list_the_same_types() -> None:
    assert set(SchedulerSpec.__args__[0].__args__) == set(SCHEDULERS)


@pytest.mark.parametrize("name", NAMES)
class TestContract:
    def test_every_trial_ends_once(self, name: str, memory: Memory) -> None:
        finished, _ = searched(name, memory, concurrent_trials=1)
        assert finished.outcome == "succeeded"
        over = Counter(event.trial for event in of(memory, TrialEnded) if event.cause != "paused")
        assert set(over.values()) == {1}
        assert set(over) == {event.trial for event in of(memory, TrialStarted)}

    def test_the_best_trial_is_trained_to_its_end(self, name: str, memory: Memory) -> None:
        searched(name, memory)
        best = max(of(memory, TrialReported), key=lambda event: (event.objectives[0], event.epoch))
        assert best.epoch == EPOCHS

    def test_baselines_are_not_stopped(self, name: str, memory: Memory) -> None:
        searched(name, memory)
        ends = {event.trial: event for event in of(memory, TrialEnded) if event.trial in (0, 1)}
        assert [ends[trial].cause for trial in (0, 1)] == ["completed", "completed"]
        assert ends[0].epoch == EPOCHS

    def test_no_epoch_is_trained_twice(self, name: str, memory: Memory) -> None:
        _, executor = searched(name, memory)
        reported = Counter((event.trial, event.segment, event.epoch) for event in of(memory, TrialReported))
        assert set(reported.values()) == {1}
        assert executor.epochs_run == len(reported)

    def test_a_failed_trial_does_not_end_the_sweep(self, name: str, memory: Memory) -> None:
        population = {"population": 5} if name == "population_based" else {}
        spec = sweep(
            epochs=EPOCHS, scheduler={"type": name, **population}, searcher={"type": "random"}, budget={"trials": 14}
        )
        finished, _ = run(spec, value, memory, fails=frozenset({3, 4}))
        assert finished.outcome == "succeeded"
        failed = [event for event in of(memory, TrialEnded) if event.cause == "failed"]
        assert [event.trial for event in failed] == [3, 4]
        assert failed[0].error is not None

    def test_a_budget_of_epochs_ends_the_search(self, name: str, memory: Memory) -> None:
        searched(name, memory, budget={"trials": 100, "epochs": 20}, baselines=False)
        repeats = {event.trial for event in of(memory, TrialStarted) if event.repeats is not None}
        trained = [event for event in of(memory, TrialReported) if event.trial not in repeats]
        assert len(trained) == 20

    def test_a_budget_of_time_ends_the_search(self, name: str, memory: Memory) -> None:
        searched(name, memory, budget={"trials": 100, "wall_clock_s": 1e-9}, baselines=False)
        assert of(memory, TrialStarted) == []


def test_rungs_are_those_of_the_papers() -> None:
    assert rungs(1, 3, 81) == [1, 3, 9, 27]
    assert rungs(2, 2, 12) == [2, 4, 8]


@pytest.mark.parametrize(
    ("epochs", "every", "first"), [(1, 1, 1), (3, 1, 1), (9, 1, 3), (10, 1, 4), (15, 1, 5), (9, 2, 4), (4, 4, 4)]
)
def test_by_default_the_first_rung_is_evaluated_after_a_third(epochs: int, every: int, first: int) -> None:
    spec = sweep(epochs=epochs, scheduler={"type": "asha"})
    training = spec.base.training.model_copy(update={"evaluate_every": every})
    changed = spec.model_copy(update={"base": spec.base.model_copy(update={"training": training})})
    assert changed.scheduler_with_rung().grace_epochs == first


def test_asha_keeps_one_in_three_at_a_rung(memory: Memory) -> None:
    scheduler = build_scheduler(Asha(grace_epochs=1), Space({}, {}), epochs=9, seed=0)
    verdicts = []
    for trial in range(9):
        scheduler.add(trial, {})
        # From worst to best: each value is above the values before.
        verdicts.append(scheduler.report(trial, 1, float(trial)))
    assert verdicts == ["continue"] * 9
    scheduler.add(9, {})
    # Two thirds of the values 0 to 8 are below 5.33.
    assert scheduler.report(9, 1, 5.0) == "stop"
    scheduler.add(10, {})
    assert scheduler.report(10, 1, 7.0) == "continue"
    assert scheduler.rung(0, 1) == 0 and scheduler.rung(0, 3) == 1 and scheduler.rung(0, 2) is None


RULES = (
    Asha(grace_epochs=1),
    Asha(grace_epochs=2, reduction=2),
    Median(grace_epochs=1),
    Median(grace_epochs=3),
)


class _TuneTrial:
    """What Ray Tune's rules read of a trial."""

    def __init__(self, trial_id: str) -> None:
        self.trial_id = trial_id


class _Controller:
    """Without live trials, Tune's median rule pauses none to free a slot."""

    def get_live_trials(self) -> list[_TuneTrial]:
        return []


@pytest.mark.parametrize("spec", RULES)
@pytest.mark.parametrize("every", [1, 2])
def test_rules_decide_as_those_of_ray_tune(spec: Asha | Median, every: int) -> None:
    rng = random.Random(7)
    measure: dict[str, Any] = {"time_attr": "epoch", "metric": "value", "mode": "max"}
    counted: Counter[str] = Counter()
    for _ in range(40):
        ours = build_scheduler(spec, Space({}, {}), epochs=27, seed=0)
        theirs: Any
        if isinstance(spec, Asha):
            theirs = AsyncHyperBandScheduler(
                **measure, max_t=27, grace_period=spec.grace_epochs, reduction_factor=spec.reduction, brackets=1
            )
        else:
            theirs = MedianStoppingRule(**measure, grace_period=spec.grace_epochs, min_samples_required=spec.min_trials)
        trials = {number: _TuneTrial(str(number)) for number in range(12)}
        epochs = dict.fromkeys(trials, 0)
        for number, trial in trials.items():
            ours.add(number, {})
            theirs.on_trial_add(None, trial)
        while epochs:
            number = rng.choice(list(epochs))
            epochs[number] += every
            # Rounded, so that some values are equal.
            reached = round(rng.random() + 0.03 * number, 1)
            verdict = ours.report(number, epochs[number], reached)
            result = {"epoch": epochs[number], "value": reached}
            action = theirs.on_trial_result(_Controller(), trials[number], result)
            is_last = epochs[number] >= 27
            assert verdict == ("stop" if action == "STOP" and not is_last else "continue")
            counted[verdict] += 1
            if is_last or verdict == "stop":
                del epochs[number]
    assert min(counted["stop"], counted["continue"]) > 50


def test_hyperband_fills_its_brackets_as_in_the_paper() -> None:
    # R = 9, eta = 3: brackets of 9, 5 and 3 trials whose first rungs come after 1, 3 and 9 epochs.
    scheduler = build_scheduler(HyperBand(grace_epochs=1), Space({}, {}), epochs=9, seed=0)
    for trial in range(17):
        scheduler.add(trial, {})
    assert [scheduler.rung(trial, 1) for trial in (0, 8, 9)] == [0, 0, None]
    assert [scheduler.rung(trial, 3) for trial in (0, 9, 13, 14)] == [1, 0, 0, None]
    for trial in range(9):
        assert scheduler.report(trial, 1, float(trial)) == "pause"
    continuing, stopped = scheduler.next()
    assert [each.trial for each in continuing] == [8, 7, 6]
    assert sorted(stopped) == [0, 1, 2, 3, 4, 5]
    assert scheduler.next() == ([], [])


def test_the_worst_of_a_population_continue_from_the_best(memory: Memory) -> None:
    searched("population_based", memory)
    exploited = [e for e in of(memory, TrialStarted) if e.goes_on_from and e.goes_on_from[0] != e.trial]
    # One of five is replaced after each of the 8 generations before the last.
    assert len(exploited) == EPOCHS - 1
    reports = {(event.trial, event.epoch): event.objectives[0] for event in of(memory, TrialReported)}
    members = [event.trial for event in of(memory, TrialStarted) if event.origin == "searcher" and not event.segment]
    for event in exploited:
        of_generation = {trial: reports[trial, event.from_epoch] for trial in members}
        assert event.trial == min(members, key=lambda trial: (of_generation[trial], -trial))
        assert event.goes_on_from[0] == max(members, key=lambda trial: (of_generation[trial], -trial))
        scale = event.values["method.scale"]
        assert 0.001 <= scale <= 10
