"""The error rates that a verdict promises, in simulated sweeps; see `benchmarks/results/sweep_verdicts.md`."""

from dataclasses import replace
from statistics import fmean

import pytest

from benchmarks.sweep_verdicts import PROMISED, Case, Judged, judged, trials_of
from fgd_core.spec.search import RunAll
from fgd_core.spec.trials import TrialStarted
from tests.reports.recorded_jobs import scores
from tests.reports.recorded_sweeps import sweep_spec
from workers.tuning.study import Study

GRID = [
    Case(trials=trials, finalists=finalists, seeds=seeds, is_paired=is_paired)
    for trials in (8, 12, 40)
    for finalists in (3, 5)
    for seeds in (3, 5)
    for is_paired in (False, True)
]
SWEEPS = 210
"""Simulated sweeps for each of the 24 cases: 5,040 in total."""


@pytest.fixture(scope="module")
def without_effect() -> dict[Case, list[Judged]]:
    return {case: list(judged(case, SWEEPS, seed=number)) for number, case in enumerate(GRID)}


def share(found: list[bool]) -> float:
    return sum(found) / len(found)


class TestWithoutEffect:
    def test_the_winner_is_called_better_than_a_baseline_no_more_often_than_promised(
        self, without_effect: dict[Case, list[Judged]]
    ) -> None:
        for is_paired in (False, True):
            found = [each for case, some in without_effect.items() if case.is_paired == is_paired for each in some]
            over_plain, over_published = (
                share([each.is_above_plain for each in found]),
                share([each.is_above_published for each in found]),
            )
            print(f"paired {is_paired}: above plain in {over_plain:.2%}, above published in {over_published:.2%}")
            assert over_plain <= PROMISED
            assert over_published <= PROMISED

    def test_any_configuration_is_called_better_than_the_plain_student_no_more_often_than_promised(
        self, without_effect: dict[Case, list[Judged]]
    ) -> None:
        """The table of methods compares the best configuration of each method with the plain student."""
        for is_paired in (False, True):
            found = [each for case, some in without_effect.items() if case.is_paired == is_paired for each in some]
            any_over_plain = share([each.is_any_above_plain for each in found])
            print(f"paired {is_paired}: any above plain in {any_over_plain:.2%}")
            assert any_over_plain <= PROMISED

    def test_it_is_called_better_than_the_runner_up_no_more_often_than_promised(
        self, without_effect: dict[Case, list[Judged]]
    ) -> None:
        found = [each.is_above_runner_up for some in without_effect.values() for each in some]
        assert share(found) <= 2 * PROMISED

    def test_the_shown_gain_is_much_smaller_than_the_gain_of_the_choosing_run(
        self, without_effect: dict[Case, list[Judged]]
    ) -> None:
        found = [each for case, some in without_effect.items() if not case.is_paired for each in some]
        assert fmean(each.chosen_at for each in found) > 0.8
        assert 0 <= fmean(each.expected for each in found) < 0.25

    @pytest.mark.parametrize(
        "change",
        [{"spread": 2.0}, {"spread": 0.5}, {"spread_of_one": 3.0}, {"rounded_to": 0.5}, {"rounded_to": 2.0}],
        ids=["searched values vary more", "searched values vary less", "one varies more", "ties", "many ties"],
    )
    def test_the_promise_holds_with_unequal_variances_and_ties(self, change: dict[str, float]) -> None:
        cases = [replace(case, **change) for case in GRID if case.trials == 12 and not case.is_paired]  # type: ignore[arg-type]
        found = [each for number, case in enumerate(cases) for each in judged(case, 300, seed=number)]
        assert share([each.is_above_plain for each in found]) <= PROMISED
        any_over_plain = share([each.is_any_above_plain for each in found])
        print(f"{change}: any above plain in {any_over_plain:.2%}")
        assert any_over_plain <= PROMISED


class TestWithAnEffect:
    @pytest.mark.parametrize(("effect", "seeds", "at_least"), [(2.0, 3, 0.1), (1.0, 5, 0.1), (2.0, 5, 0.55)])
    def test_an_effect_is_found_more_often_if_it_is_larger_or_has_more_seeds(
        self, effect: float, seeds: int, at_least: float
    ) -> None:
        found = list(judged(Case(effect=effect, seeds=seeds), 500, seed=1))
        assert share([each.is_above_plain for each in found]) >= at_least

    def test_the_shown_gain_is_not_overstated(self) -> None:
        found = list(judged(Case(effect=2.0, seeds=5), 500, seed=2))
        assert fmean(each.measured - each.true for each in found) > 0.3
        assert abs(fmean(each.expected - each.true for each in found)) < 0.2


def test_simulated_sweeps_start_the_same_trials_as_a_study() -> None:
    """A study with the same values starts the same trials with the same seeds."""
    case = Case(trials=6, finalists=2, seeds=3)
    dice = [[0.3 + ((7 * row + 3 * seed) % 11) / 100 for seed in range(case.seeds)] for row in range(2 + case.trials)]
    spec = sweep_spec(scheduler=RunAll(), seeds=case.seeds, finalists=case.finalists, budget={"trials": case.trials})
    study, started = Study(spec), list[TrialStarted]()
    while (trial := study.begin()) is not None:
        started.append(trial)
        row = trial.trial if trial.repeats is None else trial.repeats
        study.judge(trial.trial, trial.epochs, scores(dice[row][trial.seed - spec.seed]), 1.0)
        study.end(trial.trial, "completed")
    simulated = trials_of(case, dice)
    assert [(each.trial, each.repeats, each.seed - spec.seed) for each in started] == [
        (each.trial, each.repeats, each.seed) for each in simulated
    ]
