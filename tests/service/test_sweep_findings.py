"""The findings of a sweep, compared with values calculated by hand."""

import json
import math
import random
import warnings
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.importance import PedAnovaImportanceEvaluator
from pydantic import JsonValue
from scipy import stats

from fgd_core.spec.dimensions import Choice, Dimension, Integers, LogUniform, Uniform
from fgd_core.spec.results import ErrorReport
from fgd_core.spec.study_state import fold_trials
from fgd_core.spec.sweep_report import TrialView
from fgd_core.spec.views import AttemptView
from fgd_core.statistics.kendall import interval, kendall
from fgd_core.statistics.welch import t_quantile, two_sided_p
from service.compare.sweeps.cost import best_so_far, failures, spent
from service.compare.sweeps.early_orders import early_orders
from service.compare.sweeps.importance import importance
from service.compare.sweeps.ped_anova import shares
from service.compare.sweeps.standings import gains, pareto_front, runner_up, standings
from service.compare.sweeps.stopping import stopping
from service.jobs.trial_values import common_epoch
from tests.reports.recorded_jobs import BEGIN
from tests.reports.recorded_sweeps import STEP_S, Study

UP = ("maximize",)


def folded(study: Study, *directions: str, is_over: bool = False) -> list[TrialView]:
    return fold_trials(study.events(), directions or UP, is_over=is_over)  # type: ignore[arg-type]


def with_seeds(**aps: Sequence[float]) -> list[TrialView]:
    """Return trials of one epoch: for each origin its values by seed; the first is the trial, the others repeat it."""
    study, number = Study(epochs=1), 0
    for origin, values in aps.items():
        first = number
        for seed, ap in enumerate(values):
            again = {"repeats": first, "origin": "finalist"} if seed else {"origin": origin.rstrip("_")}
            study.run(number, [ap], {"method.alpha": float(first)}, seed=seed, **again)
            number += 1
    return folded(study)


class TestStandings:
    def test_repeats_with_other_seeds_are_one_configuration(self) -> None:
        first, second = standings(with_seeds(searcher=[0.30, 0.34, 0.32], searcher_=[0.2, 0.1]), UP)
        assert (first.trial, first.trials) == (0, [0, 1, 2])
        assert (second.trial, second.trials) == (3, [3, 4])

    def test_the_run_that_chose_a_finalist_is_not_in_its_mean(self) -> None:
        first, second = standings(with_seeds(plain=[0.1, 0.3], searcher=[0.90, 0.34, 0.32]), UP)
        assert (first.seed_values, first.objectives, first.chosen_at) == ([0.34, 0.32], [pytest.approx(0.33)], 0.90)
        # A baseline was not chosen for its value, so all of its runs count.
        assert (second.seed_values, second.chosen_at) == ([0.1, 0.3], None)

    def test_a_finalist_that_was_lucky_once_ranks_below_a_better_one(self) -> None:
        ranked = standings(with_seeds(searcher=[0.9, 0.2, 0.2], searcher_=[0.4, 0.3, 0.3]), UP)
        assert [each.trial for each in ranked] == [3, 0]

    def test_a_repeat_with_the_seed_of_the_choosing_run_does_not_count(self) -> None:
        study = Study(epochs=1)
        study.run(0, [0.5], seed=1, origin="fork")
        study.run(1, [0.5], seed=1, origin="finalist", repeats=0)
        study.run(2, [0.3], seed=2, origin="finalist", repeats=0)
        assert standings(folded(study), UP)[0].seed_values == [0.3]

    def test_the_best_of_many_single_runs_does_not_beat_a_mean_of_several(self) -> None:
        ranked = standings(with_seeds(searcher=[0.30, 0.29, 0.28], searcher_=[0.31]), UP)
        assert [each.trial for each in ranked] == [0, 3]

    def test_a_single_run_ranks_above_a_worse_repeated_baseline(self) -> None:
        ranked = standings(with_seeds(plain=[0.1, 0.1], searcher=[0.30, 0.28], searcher_=[0.25]), UP)
        assert [each.trial for each in ranked] == [2, 4, 0]

    def test_repeated_baselines_alone_do_not_rank_above_a_better_search(self) -> None:
        ranked = standings(with_seeds(plain=[0.1, 0.1], searcher=[0.3]), UP)
        assert [each.origin for each in ranked] == ["searcher", "plain"]

    def test_the_lowest_value_wins_if_the_objective_is_minimised(self) -> None:
        assert [each.trial for each in standings(with_seeds(searcher=[0.3], searcher_=[0.2]), ("minimize",))] == [1, 0]

    def test_a_part_of_a_training_does_not_win_against_a_whole_one(self) -> None:
        study = Study(epochs=3)
        study.run(0, [0.1, 0.1, 0.1], {}, origin="plain")
        study.run(1, [0.1, 0.2, 0.3], {"method.alpha": 1.0})
        study.start(2, {"method.alpha": 2.0})
        study.report(2, 1, 0.5)
        study.end(2, "stopped", 1)
        ranked = standings(folded(study), UP)
        assert [(each.trial, each.is_comparable) for each in ranked] == [(1, True), (0, True), (2, False)]

    def test_a_failed_trial_cannot_win(self) -> None:
        study = Study(epochs=2)
        study.start(0)
        study.report(0, 1, 0.9)
        study.end(0, "failed", 1)
        study.run(1, [0.1, 0.2])
        assert [each.trial for each in standings(folded(study), UP)] == [1]

    def test_a_repeat_that_still_runs_is_not_in_the_mean(self) -> None:
        study = Study(epochs=2)
        study.run(0, [0.1, 0.4])
        study.start(1, seed=1, origin="finalist", repeats=0)
        study.report(1, 1, 0.05)
        assert standings(folded(study), UP)[0].seed_values == [0.4]

    def test_a_configuration_whose_first_trial_failed_ranks_by_its_repeats(self) -> None:
        study = Study(epochs=1)
        study.start(0, {"method.alpha": 3.0})
        study.end(0, "failed", 0)
        study.run(1, [0.2], {"method.alpha": 3.0}, seed=1, origin="finalist", repeats=0)
        (only,) = standings(folded(study), UP)
        assert (only.trial, only.trials) == (0, [1])

    def test_running_trials_are_compared_at_the_last_epoch_that_all_have_reached(self) -> None:
        study = Study(epochs=3)
        study.run(0, [0.1, 0.2, 0.3], origin="plain")
        study.start(1)
        study.report(1, 1, 0.15)
        ranked = standings(folded(study), UP, is_over=False)
        assert [(each.trial, each.objectives[0], each.at_epoch) for each in ranked] == [(1, 0.15, 1), (0, 0.1, 1)]

    def test_a_trial_that_still_trains_ranks_below_finished_trials(self) -> None:
        study = Study(epochs=3)
        study.run(0, [0.1, 0.2, 0.3], origin="plain")
        study.run(1, [0.1, 0.2, 0.4])
        study.start(2)
        study.report(2, 1, 0.5)
        ranked = standings(folded(study), UP, is_over=False)
        assert [(each.trial, each.at_epoch, each.is_comparable) for each in ranked] == [
            (1, None, True),
            (0, None, True),
            (2, None, False),
        ]

    def test_nothing_is_compared_with_a_baseline_before_a_trial_has_been_evaluated(self) -> None:
        study = Study(epochs=3)
        study.start(0, origin="plain")
        study.report(0, 1, 0.1)
        study.start(1)
        ranked = standings(folded(study), UP, is_over=False)
        assert [each.trial for each in ranked] == [0]
        assert runner_up(ranked, "maximize", is_over=False) is None

    def test_a_search_that_ended_before_any_trial_was_complete_is_compared_at_equal_epochs(self) -> None:
        study = Study(epochs=3)
        study.run(0, [0.1, 0.2, 0.3], origin="plain")
        study.run(1, [0.15])
        assert [each.trial for each in standings(folded(study, is_over=True), UP)] == [1, 0]

    def test_a_completed_shorter_training_counts_in_full(self) -> None:
        study = Study(epochs=3)
        study.run(0, [0.1, 0.2, 0.3], origin="plain")
        study.start(1, epochs=1)
        study.report(1, 1, 0.35)
        study.end(1, "completed", 1)
        ranked = standings(folded(study), UP, is_over=False)
        assert [(each.trial, each.is_comparable) for each in ranked] == [(1, True), (0, True)]

    def test_without_a_value_there_are_no_standings(self) -> None:
        study = Study()
        study.start(0)
        assert standings(folded(study), UP) == []


class TestDifferences:
    def test_a_small_difference_to_the_runner_up_is_within_noise(self) -> None:
        ranked = standings(with_seeds(searcher=[0.3, 0.3, 0.4], searcher_=[0.3, 0.28, 0.41]), UP)
        second = runner_up(ranked, "maximize")
        assert second is not None
        assert (second.trial, second.verdict) == (3, "inside_noise")

    def test_a_large_difference_to_the_runner_up_is_beyond_noise(self) -> None:
        ranked = standings(with_seeds(searcher=[0.4, 0.4, 0.41], searcher_=[0.1, 0.1, 0.11]), UP)
        second = runner_up(ranked, "maximize")
        assert second is not None
        assert (second.verdict, second.is_better) == ("clear", True)

    def test_with_one_seed_the_noise_is_unknown(self) -> None:
        second = runner_up(standings(with_seeds(searcher=[0.4], searcher_=[0.1]), UP), "maximize")
        assert second is not None
        assert (second.verdict, second.p_value, second.interval) == ("unknown", None, None)
        assert second.why_unknown == "chosen_by_it"

    def test_with_one_fresh_seed_the_noise_is_unknown(self) -> None:
        found = gains(standings(with_seeds(plain=[0.1, 0.1], searcher=[0.4, 0.4]), UP), "maximize")
        assert (found["plain"].verdict, found["plain"].why_unknown) == ("unknown", "few_seeds")

    def test_with_seeds_that_agree_exactly_the_noise_is_unknown(self) -> None:
        found = gains(standings(with_seeds(plain=[0.1] * 3, searcher=[0.4] * 3), UP), "maximize")
        assert (found["plain"].verdict, found["plain"].why_unknown) == ("unknown", "no_spread")

    def test_nothing_is_decided_while_the_sweep_runs(self) -> None:
        trials = with_seeds(plain=[0.1, 0.11, 0.1], searcher=[0.4, 0.4, 0.41])
        ranked = standings(trials, UP, is_over=False)
        running = gains(ranked, "maximize", is_over=False)["plain"]
        assert (running.verdict, running.why_unknown) == ("unknown", "pending")
        assert gains(ranked, "maximize")["plain"].verdict == "clear"

    def test_the_winners_gain_over_a_baseline_is_corrected_for_all_candidates(self) -> None:
        """By hand: two finalists and the default weights are three candidates for a win over the plain student."""
        trials = with_seeds(
            plain=[0.10, 0.12, 0.11],
            published=[0.1, 0.1, 0.12],
            searcher=[0.5, 0.18, 0.16],
            searcher_=[0.4, 0.11, 0.15],
        )
        gain = gains(standings(trials, UP), "maximize")["plain"]
        # Pooled over the finalists: (0.0002 + 0.0008) / 2 with 2 degrees, above the winner's own 0.0002.
        error = math.sqrt(0.0005 / 2 + 0.0001 / 3)
        freedom = error**4 / ((0.0005 / 2) ** 2 / 2 + (0.0001 / 3) ** 2 / 2)
        assert gain.comparisons == 3
        assert gain.measured == pytest.approx(0.06)
        assert gain.p_value == pytest.approx(3 * two_sided_p(0.06 / error, freedom))
        assert gain.interval is not None
        assert gain.interval.high - 0.06 == pytest.approx(t_quantile(freedom, 1 - 0.05 / 3) * error)

    def test_the_gain_of_the_best_of_several_is_shrunk(self) -> None:
        trials = with_seeds(plain=[0.1, 0.2, 0.3], searcher=[0.4, 0.3, 0.2], searcher_=[0.4, 0.35, 0.25])
        gain = gains(standings(trials, UP), "maximize")["plain"]
        assert gain.measured == pytest.approx(0.1)
        # The means differ by less than the noise of their seeds explains.
        assert gain.difference == pytest.approx(0)
        assert gain.is_better

    def test_a_gain_far_above_the_noise_is_hardly_shrunk(self) -> None:
        trials = with_seeds(plain=[0.1, 0.11, 0.12], searcher=[0.4, 0.39, 0.4], searcher_=[0.5, 0.5, 0.49])
        gain = gains(standings(trials, UP), "maximize")["plain"]
        assert 0.98 * gain.measured < gain.difference < gain.measured

    def test_it_reports_how_many_seeds_would_show_a_gain_within_noise(self) -> None:
        few = with_seeds(plain=[0.1, 0.12, 0.11], searcher=[0.2, 0.17, 0.14], searcher_=[0.2, 0.12, 0.14])
        gain = gains(standings(few, UP), "maximize")["plain"]
        assert gain.verdict == "inside_noise"
        assert gain.seeds_to_tell is not None
        assert 3 < gain.seeds_to_tell <= 20

    def test_the_gain_over_each_baseline_is_reported(self) -> None:
        found = gains(standings(with_seeds(plain=[0.2], published=[0.25], searcher=[0.3]), UP), "maximize")
        assert {name: gain.difference for name, gain in found.items()} == pytest.approx(
            {"plain": 0.1, "published": 0.05}
        )

    def test_a_baseline_that_wins_has_no_gain_over_itself(self) -> None:
        assert list(gains(standings(with_seeds(plain=[0.4], published=[0.2]), UP), "maximize")) == ["published"]

    def test_a_lower_value_is_a_gain_if_the_objective_is_minimised(self) -> None:
        found = gains(standings(with_seeds(plain=[0.4], searcher=[0.2]), ("minimize",)), "minimize")
        assert (found["plain"].difference, found["plain"].is_better) == (pytest.approx(-0.2), True)


class TestParetoFront:
    def test_the_direction_of_each_objective_counts(self) -> None:
        points = [(0.3, 10.0), (0.2, 5.0), (0.2, 20.0), (0.3, 10.0)]
        assert pareto_front(points, ("maximize", "minimize")) == {0, 1, 3}
        assert pareto_front(points, ("maximize", "maximize")) == {0, 2, 3}

    def test_a_trial_without_one_of_the_objectives_is_not_on_it(self) -> None:
        assert pareto_front([(0.9, None), (0.1, 1.0)], ("maximize", "maximize")) == {1}


class TestStopping:
    @pytest.fixture
    def trials(self) -> list[TrialView]:
        """Nine epochs, rungs at 1 and 3: two of four trials continue after the first rung, one after the second."""
        study = Study(epochs=9)
        study.run(0, [0.1] * 9, origin="plain")
        for trial, (aps, rungs) in enumerate(
            [
                ([0.20, 0.22, 0.24, 0.3, 0.3, 0.3, 0.4, 0.3, 0.3], (1, 3)),
                ([0.25, 0.26, 0.23], (1, 3)),
                ([0.15], (1,)),
                ([0.21], (1,)),
            ],
            start=1,
        ):
            study.start(trial)
            for epoch, ap in enumerate(aps, start=1):
                stop = "stop" if epoch == len(aps) < 9 else "continue"
                study.report(trial, epoch, ap, rung=rungs.index(epoch) if epoch in rungs else None, verdict=stop)
            study.end(trial, "completed" if len(aps) == 9 else "stopped", len(aps))
        return folded(study)

    def test_the_saved_epochs_are_counted(self, trials: list[TrialView]) -> None:
        found = stopping(trials, "maximize", winner=1)
        assert (found.num_stopped, found.epochs_saved, found.epochs_full) == (3, 6 + 8 + 8, 36)

    def test_each_rung_lists_the_trials_that_arrived_and_continued(self, trials: list[TrialView]) -> None:
        first, second = stopping(trials, "maximize", winner=1).rungs
        assert (first.epoch, first.reached, first.went_on, first.cutoff, first.best_stopped) == (1, 4, 2, 0.20, 0.21)
        # The scheduler judged trial 2 by its best value, 0.26.
        assert (second.epoch, second.reached, second.went_on, second.cutoff, second.best_stopped) == (
            *(3, 2, 1),
            *(0.24, 0.26),
        )

    def test_a_rung_names_the_trials_ahead_of_the_later_winner(self, trials: list[TrialView]) -> None:
        found = stopping(trials, "maximize", winner=1).doubtful
        assert [(stop.trial, stop.epoch, stop.value, stop.winner_value) for stop in found] == [
            (2, 3, 0.26, 0.24),
            (4, 1, 0.21, 0.20),
        ]

    def test_a_stop_by_a_user_is_not_counted_for_the_scheduler(self) -> None:
        study = Study(epochs=9)
        study.start(0)
        study.report(0, 1, 0.1)
        study.end(0, "stopped", 1, by_user=True)
        assert stopping(folded(study), "maximize", winner=None).num_stopped == 0


class TestEarlyOrders:
    def trained(self, pairs: Sequence[tuple[float, float]], *, rung: int | None = 0) -> list[TrialView]:
        """Complete trials with a value after each of two epochs."""
        study = Study(epochs=2)
        for trial, (early, final) in enumerate(pairs):
            study.start(trial, {})
            study.report(trial, 1, early, rung=rung)
            study.report(trial, 2, final)
            study.end(trial, "completed", 2)
        return folded(study)

    def test_an_order_that_nearly_lasts_has_a_high_tau(self) -> None:
        trials = self.trained([(0.1, 0.2), (0.2, 0.3), (0.3, 0.5), (0.4, 0.45)])
        (order,) = early_orders(trials, "maximize")
        assert (order.epoch, order.tau, order.low, order.num_trials) == (1, pytest.approx(4 / 6), None, 4)

    def test_tau_equals_that_of_scipy_also_with_ties(self) -> None:
        dice = random.Random(5)
        for size in (3, 10, 200):
            pairs = [(dice.randrange(8) / 10, dice.randrange(8) / 10) for _ in range(size)]
            (order,) = early_orders(self.trained(pairs), "maximize")
            ends = [(first, max(first, last)) for first, last in pairs]
            assert order.tau == pytest.approx(float(stats.kendalltau(*zip(*ends, strict=True)).statistic))

    def test_without_a_scheduler_the_order_after_a_third_is_examined(self) -> None:
        trials = self.trained([(0.1, 0.2), (0.2, 0.3), (0.3, 0.5)], rung=None)
        assert [(order.epoch, order.num_trials) for order in early_orders(trials, "maximize")] == [(1, 3)]

    @pytest.mark.parametrize(("every", "examined"), [(2, [2]), (3, [3]), (6, [])])
    def test_the_order_is_examined_where_trials_were_evaluated(self, every: int, examined: list[int]) -> None:
        study = Study(epochs=6)
        for trial in range(3):
            study.start(trial, {})
            for epoch in range(every, 7, every):
                study.report(trial, epoch, 0.1 * trial)
            study.end(trial, "completed", 6)
        assert [(order.epoch, order.num_trials) for order in early_orders(folded(study), "maximize")] == [
            (epoch, 3) for epoch in examined
        ]

    def test_a_stopped_trial_and_a_repeat_do_not_count(self) -> None:
        study = Study(epochs=2)
        for trial in range(4):
            study.start(trial, {}, **({"repeats": 0, "seed": 1} if trial == 3 else {}))
            study.report(trial, 1, 0.1 + 0.1 * trial, rung=0)
            if trial == 2:
                study.end(trial, "stopped", 1)
                continue
            study.report(trial, 2, 0.3 + 0.1 * trial)
            study.end(trial, "completed", 2)
        (order,) = early_orders(folded(study), "maximize")
        assert (order.num_trials, order.tau) == (2, None)

    def test_the_last_epoch_is_not_early(self) -> None:
        study = Study(epochs=1)
        for trial in range(4):
            study.start(trial)
            study.report(trial, 1, 0.1 * trial, rung=0)
            study.end(trial, "completed", 1)
        assert early_orders(folded(study), "maximize") == []

    @pytest.mark.parametrize(("size", "relation"), [(5, 0.0), (8, 0.0), (8, 0.7), (20, 0.9)])
    def test_the_interval_contains_the_true_tau_as_often_as_stated(self, size: int, relation: float) -> None:
        dice = np.random.default_rng(size)
        true, inside, above = 2 / np.pi * np.arcsin(relation), 0, 0
        for _ in range(500):
            first, other = dice.normal(size=(2, size))
            pairs = list(zip(first, relation * first + np.sqrt(1 - relation**2) * other, strict=True))
            tau = kendall(pairs)
            assert tau is not None
            low, high = interval(tau, size) or (0.0, 0.0)
            inside += low <= true <= high
            above += low > 0
        print(f"{size} trials, true tau {true:.2f}: {inside / 500:.1%} inside, {above / 500:.1%} above zero")
        # 95 % of 500 is 475, with a standard deviation of 4.9.
        assert inside >= 475 - 2 * 4.9
        # Without any relation at most 2.5 % are called better than chance: 12.5 of 500, with a deviation of 3.5.
        assert relation or above <= 12.5 + 2 * 3.5


class TestImportance:
    SPACE = {"method.alpha": LogUniform(low=0.01, high=1), "method.mask": Choice(values=("geometric", "official"))}

    def searched(self, count: int, *, epochs: int = 1, stopped_after: int = 0) -> list[TrialView]:
        """Return trials whose AP rises with alpha; the mask has no effect."""
        study = Study(epochs=epochs)
        for trial in range(count):
            values = {"method.alpha": 0.01 + 0.99 * trial / count, "method.mask": ("geometric", "official")[trial % 2]}
            aps = [0.1 + 0.01 * trial] * (epochs if trial >= stopped_after else 1)
            study.run(trial, aps, values)
        return folded(study)

    def test_the_dimension_with_an_effect_is_the_important_one(self) -> None:
        found = importance(self.searched(20), self.SPACE, "maximize")
        assert found is not None
        assert next(iter(found.shares)) == "method.alpha"
        assert found.shares["method.alpha"] > 0.8
        assert sum(found.shares.values()) == pytest.approx(1)
        assert (found.num_trials, found.warning) == (20, None)

    def test_only_differences_among_the_best_trials_count(self) -> None:
        space = {"method.alpha": Uniform(low=0, high=1), "method.beta": Uniform(low=0, high=1)}
        study = Study(epochs=1)
        for trial in range(20):
            spread, ap = (trial * 7 % 20) / 20, 0.5
            alpha, beta = spread, (trial * 3 % 20) / 20
            if trial < 5:
                alpha, ap = 0.9 + 0.01 * trial, 0.9
            elif trial < 10:
                beta, ap = 0.1 + 0.01 * trial, 0.1
            study.run(trial, [ap], {"method.alpha": alpha, "method.beta": beta})
        trials = folded(study)
        best, worst = importance(trials, space, "maximize"), importance(trials, space, "minimize")
        assert best is not None
        assert worst is not None
        assert (next(iter(best.shares)), next(iter(worst.shares))) == ("method.alpha", "method.beta")

    def test_the_values_equal_optunas(self) -> None:
        space: dict[str, Dimension] = {
            "a": LogUniform(low=0.01, high=1),
            "b": Uniform(low=-1, high=3),
            "c": Integers(low=1, high=7),
            "d": Integers(low=1, high=300, log=True),
            "e": Choice(values=("x", True, [1, 2])),
            "f": Integers(low=0, high=200),
            "conditional": Uniform(low=0, high=1),
            "single": Uniform(low=2, high=2),
        }
        for seed, count in enumerate((6, 15, 40, 120)):
            dice, trials = random.Random(seed), []
            for number in range(count):
                values: dict[str, JsonValue] = {
                    "a": 10 ** dice.uniform(-2, 0),
                    "b": dice.uniform(-1, 3),
                    "c": dice.randint(1, 7),
                    "d": dice.randint(1, 300),
                    "e": ("x", True, [1, 2])[number % 3],
                    "f": dice.randint(0, 200),
                    "single": 2.0,
                }
                if number % 3 == 0:
                    values["conditional"] = dice.random()
                trials.append((values, round(dice.random(), 2)))
            for direction in ("maximize", "minimize"):
                assert shares(trials, space, direction) == pytest.approx(by_optuna(trials, space, direction), abs=1e-9)

    def test_it_warns_of_too_few_trials_with_the_needed_number(self) -> None:
        found = importance(self.searched(19), self.SPACE, "maximize")
        assert found is not None
        assert found.warning is not None
        assert "19 trials are few for 2 dimensions" in found.warning
        assert "fewer than 20" in found.warning

    def test_fewer_than_four_trials_have_no_importance(self) -> None:
        assert importance(self.searched(3), self.SPACE, "maximize") is None
        assert importance(self.searched(4), self.SPACE, "maximize") is not None

    def test_a_dimension_without_trials_has_no_importance(self) -> None:
        space = {**self.SPACE, "method.scale": Uniform(low=0, high=1)}
        found = importance(self.searched(8), space, "maximize")
        assert found is not None
        assert found.shares["method.scale"] == 0

    def test_trials_are_compared_at_the_last_epoch_that_half_of_them_reached(self) -> None:
        half = importance(self.searched(10, epochs=3, stopped_after=5), self.SPACE, "maximize")
        fewer = importance(self.searched(10, epochs=3, stopped_after=6), self.SPACE, "maximize")
        assert half is not None
        assert fewer is not None
        assert (half.epoch, half.num_trials, half.num_left_out) == (3, 5, 5)
        assert (fewer.epoch, fewer.num_trials, fewer.num_left_out) == (1, 10, 0)

    def test_at_least_four_trials_must_have_reached_the_epoch(self) -> None:
        assert common_epoch(self.searched(6, epochs=3, stopped_after=2)) == 3
        assert common_epoch(self.searched(6, epochs=3, stopped_after=3)) == 1

    def test_baselines_repeats_and_values_outside_the_space_are_excluded(self) -> None:
        study = Study(epochs=1)
        study.run(0, [0.9], {"method.scale": 0}, origin="plain")
        for trial in range(1, 6):
            study.run(trial, [0.1 * trial], {"method.alpha": 0.1 * trial})
        study.run(6, [0.4], {"method.alpha": 0.1}, origin="finalist", repeats=1)
        study.run(7, [0.4], {"method.alpha": 50.0}, origin="user")
        found = importance(folded(study), {"method.alpha": Uniform(low=0, high=1)}, "maximize")
        assert found is not None
        assert (found.num_trials, found.num_left_out) == (5, 1)


class TestCost:
    def test_the_best_so_far_is_given_over_the_cost_of_all_trials(self) -> None:
        study = Study(epochs=2)
        study.run(0, [0.9, 0.9], origin="plain")
        study.run(1, [0.1, 0.2])
        study.run(2, [0.1, 0.1])
        study.run(3, [0.3, 0.1])
        found = best_so_far(folded(study), "maximize")
        assert [(point.trial, point.epochs, point.train_s, point.best) for point in found] == [
            (1, 3, 6.0, 0.1),
            (1, 4, 8.0, 0.2),
            (3, 7, 14.0, 0.3),
            (3, 8, 16.0, 0.3),
        ]

    def test_costs_of_concurrent_trials_are_in_the_order_of_their_events(self) -> None:
        study = Study(epochs=2)
        study.start(0)
        study.start(1)
        for epoch in (1, 2):
            study.report(0, epoch, 0.1 * epoch)
            study.report(1, epoch, 0.3 * epoch)
        found = best_so_far(folded(study), "maximize")
        assert [(point.trial, point.epochs) for point in found] == [(0, 1), (1, 2), (1, 4)]

    def test_trials_of_a_forked_sweep_cost_nothing(self) -> None:
        study = Study(epochs=2)
        study.run(0, [0.1, 0.2], origin="fork")
        study.run(1, [0.1, 0.3])
        found = best_so_far(folded(study), "maximize")
        assert [(point.trial, point.epochs) for point in found] == [(0, 0), (0, 0), (1, 2)]

    def test_a_repeated_epoch_is_charged_when_it_was_first_trained(self) -> None:
        study = Study(epochs=2)
        study.start(0)
        study.report(0, 1, 0.1)
        study.start(1)
        study.report(1, 1, 0.2)
        study.start(0, is_resumed=True)
        study.report(0, 1, 0.1)
        found = best_so_far(folded(study), "maximize")
        assert [(point.trial, point.epochs) for point in found] == [(0, 1), (1, 2)]

    def test_the_spent_time_and_epochs_are_reported(self) -> None:
        study = Study(epochs=2)
        study.run(0, [0.1, 0.2])
        study.run(1, [0.1, 0.2], origin="fork")
        attempts = [an_attempt(1, 0, 100), an_attempt(2, 200, None)]
        found = spent(folded(study), attempts, gpus=1, now=BEGIN + timedelta(seconds=250))
        assert (found.trials, found.epochs, found.train_s, found.wall_s, found.attempts) == (1, 2, 4.0, 150.0, 2)
        assert found.gpu_hours == pytest.approx(3 * STEP_S / 3600)

    def test_failures_are_counted_by_cause(self) -> None:
        study = Study()
        for trial, code in enumerate(["data", "out_of_memory", "out_of_memory"]):
            study.start(trial)
            study.end(trial, "failed", 0, error=ErrorReport(code=code, message=f"there was {code}"))
        study.start(3)
        found = failures(folded(study, is_over=True))
        assert [(failure.code, failure.trials) for failure in found] == [
            ("out_of_memory", [1, 2]),
            ("data", [0]),
            ("lost", [3]),
        ]


def by_optuna(
    trials: Sequence[tuple[dict[str, JsonValue], float]], space: dict[str, Dimension], direction: str
) -> dict[str, float]:
    def distribution(dimension: Dimension) -> BaseDistribution:
        match dimension:
            case Choice():
                return CategoricalDistribution([json.dumps(value) for value in dimension.values])
            case Integers():
                return IntDistribution(dimension.low, dimension.high, log=dimension.log)
            case _:
                return FloatDistribution(dimension.low, dimension.high, log=isinstance(dimension, LogUniform))

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction=direction)
    for values, objective in trials:
        plain = {path: json.dumps(v) if isinstance(space[path], Choice) else v for path, v in values.items()}
        of = {path: distribution(space[path]) for path in plain}
        study.add_trial(optuna.trial.create_trial(params=plain, distributions=of, value=objective))
    quantile = min(0.5, max(0.1, 5 / len(trials)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        evaluator = PedAnovaImportanceEvaluator(target_quantile=quantile)
        found = evaluator.evaluate(study, params=list(space))
    return {path: found[path] / sum(found.values()) for path in space}


def an_attempt(number: int, started_s: float, ended_s: float | None) -> AttemptView:
    fields: dict[str, Any] = dict.fromkeys(("dashboard_url", "cause", "error", "released_at"))
    return AttemptView(
        attempt_id=f"a{number}",
        number=number,
        submission_id=f"s{number}",
        created_at=BEGIN,
        started_at=BEGIN + timedelta(seconds=started_s),
        ended_at=None if ended_s is None else BEGIN + timedelta(seconds=ended_s),
        spec_changes={},
        **fields,
    )
