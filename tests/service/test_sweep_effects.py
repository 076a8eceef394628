"""Which choices of a sweep mattered: who counts, how often the report errs, and what it says."""

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from scipy import stats

from benchmarks.sweep_importance import PROMISED, SPACE, Case, enough, judged, rates, simulated
from benchmarks.sweep_verdicts import RUN_SD
from fgd_core.spec.dimensions import Choice, Dimension, Integers, LogUniform, Uniform
from fgd_core.spec.search import Asha, CmaEs, Grid, Nsga2, PopulationBased, QuasiRandom, Random, RunAll, Tpe
from fgd_core.spec.sweep_effects import DimensionEffect, Effects
from fgd_core.spec.sweep_report import SweepReport
from service.client.sweep_report import effects_table
from service.compare.sweeps import randomised
from service.compare.sweeps.drawn_trials import drawn_at_random
from service.compare.sweeps.effects import effects
from service.compare.sweeps.randomised import Drawn, holm, p_values
from service.reports.sweep_html import render_sweep_html
from tests.reports.recorded_sweeps import Study, sweep_report, sweep_spec

NUMBER, MASK = "method.scale", "method.mask"
SWEEPS = 50
TWO: dict[str, Dimension] = {NUMBER: LogUniform(low=0.01, high=10), MASK: Choice(values=("geometric", "official"))}


def drawn(values: Sequence[Any], objectives: Sequence[float], dimension: Dimension) -> Drawn:
    return Drawn(
        dimension=dimension,
        values=values,
        objectives=np.array(objectives, np.float64),
        blocks=np.zeros(len(values), np.intp),
    )


def report(count: int, gain: Callable[[Mapping[str, Any]], float], **changes: Any) -> SweepReport:
    """Return the report of a random search over `TWO`; the noise has a standard deviation of 0.01."""
    dice, study = np.random.default_rng(1), Study(epochs=1)
    for trial in range(count):
        values = {NUMBER: float(10 ** dice.uniform(-2, 1)), MASK: str(dice.choice(("geometric", "official")))}
        study.run(trial, [0.3 + gain(values) + 0.01 * float(dice.normal())], values)
    return sweep_report(study, **{"space": TWO, "searcher": Random(), "scheduler": RunAll()} | changes)


def found_in(report: SweepReport, path: str) -> DimensionEffect:
    assert report.effects is not None
    return next(each for each in report.effects.dimensions if each.path == path)


class TestRates:
    @pytest.mark.parametrize(
        ("case", "least_found"),
        [
            (Case(trials=12, scheduler="asha"), 0),
            (Case(trials=20, matters="number", effect=4.0), 45),
            (Case(trials=12, searcher="tpe", scheduler="asha", matters="number", effect=4.0), 20),
        ],
    )
    def test_false_findings_are_as_rare_as_promised_and_real_effects_are_found(
        self, case: Case, least_found: int
    ) -> None:
        found = list(judged(case, SWEEPS, seed=3))
        print({name: str(rate) for name, rate in rates(found, case).items()})
        # 2.5 of 50 are promised, with a standard deviation of 1.5.
        assert sum(each.false for each in found) <= SWEEPS * PROMISED + 2 * 1.5
        assert sum(each.missed_interval for each in found) <= SWEEPS * PROMISED + 2 * 1.5
        assert sum(each.found for each in found) >= least_found

    def test_the_trials_that_a_report_asks_for_find_the_effect_four_times_in_five(self) -> None:
        dice, trials = np.random.default_rng(0), enough()
        assert trials is not None
        num_found = 0
        for _ in range(100):
            places = dice.random(trials)
            # The mean of the highest third is one standard deviation above that of the lowest.
            objectives = 1.5 * places + dice.normal(size=trials)
            (p,) = p_values({"x": drawn(places.tolist(), objectives, Uniform(low=0, high=1))}).values()
            num_found += p <= PROMISED / len(SPACE)
        print(f"{trials} trials find the effect in {num_found} % of sweeps")
        # 80 of 100 are promised, with a standard deviation of 4.
        assert 72 <= num_found <= 95

    def test_the_number_of_trials_comes_from_an_upper_limit_of_the_variance(self) -> None:
        dice = np.random.default_rng(0)
        variances = RUN_SD**2 * dice.chisquare(17, size=200) / 17
        asked = [
            randomised.trials_needed(RUN_SD, each, 17, levels=3, rank=2, significant=PROMISED / len(SPACE))
            for each in variances
        ]
        suffice = sum(each is not None and each >= (enough() or 0) for each in asked)
        # 80 % of 200, with a standard deviation of 5.7.
        assert 160 - 3 * 5.7 <= suffice <= 160 + 3 * 5.7


class TestTest:
    def test_the_p_value_of_a_choice_is_that_of_kruskal_and_wallis(self) -> None:
        dice = np.random.default_rng(2)
        names = [str(name) for name in dice.choice(("a", "b", "c"), size=60)]
        objectives = [0.5 * (name == "a") + float(dice.normal()) for name in names]
        groups = [[y for name, y in zip(names, objectives, strict=True) if name == group] for group in "abc"]
        (p,) = p_values({"x": drawn(names, objectives, Choice(values=("a", "b", "c")))}).values()
        assert p == pytest.approx(stats.kruskal(*groups).pvalue, abs=0.02)

    def test_the_p_value_is_that_of_all_permutations(self) -> None:
        values, objectives = [0.0, 0.1, 0.5, 0.6, 0.9, 1.0], [1.0, 2.0, 5.0, 3.0, 4.0, 9.0]
        square = np.stack([np.ones(6), np.array(values), np.array(values) ** 2], axis=1)
        hat = square @ np.linalg.pinv(square)
        ranks = stats.rankdata(objectives)

        def explained(order: Sequence[float]) -> float:
            return float(np.array(order) @ hat @ np.array(order))

        expected = np.mean([explained(each) >= explained(ranks) - 1e-9 for each in itertools.permutations(ranks)])
        (p,) = p_values({"x": drawn(values, objectives, Uniform(low=0, high=1))}).values()
        assert p == pytest.approx(expected, abs=0.02)

    def test_holm_adjusts_by_hand(self) -> None:
        assert holm({"a": 0.04, "b": 0.01, "c": 0.03}) == pytest.approx({"b": 0.03, "c": 0.06, "a": 0.06})

    def test_whole_numbers_have_parts_of_whole_numbers(self) -> None:
        parts = [randomised.part_edges(Integers(low=0, high=8), level) for level in range(3)]
        assert parts == [(0, 2), (3, 5), (6, 8)]


class TestWhoCounts:
    @pytest.mark.parametrize(
        ("searcher", "first"),
        [(Tpe(startup_trials=4), 4), (Nsga2(population=4), 4), (CmaEs(startup_trials=4), 4)],
        ids=lambda value: getattr(value, "type", value),
    )
    def test_only_trials_count_whose_values_are_the_same_whatever_the_results_are(
        self, searcher: Any, first: int
    ) -> None:
        space = {"a": Uniform(low=0, high=1), "b": LogUniform(low=0.01, high=1)}
        spec = sweep_spec(space=space, searcher=searcher, scheduler=RunAll(), baselines=False, budget={"trials": 20})
        up, down = (
            simulated(spec, lambda values, sign=sign: sign * values["a"], np.random.default_rng(0))  # type: ignore[misc]
            for sign in (1, -1)
        )
        values = [[trial.values for trial in trials] for trials in (up, down)]
        assert [trial.trial for trial in drawn_at_random(spec, up)] == list(range(first))
        assert values[0][:first] == values[1][:first]
        assert values[0][first:] != values[1][first:]

    def test_all_trials_of_a_random_search_count_but_those_of_a_user_or_of_another_sweep(self) -> None:
        study = Study(epochs=1)
        for trial, origin in enumerate(("fork", "plain", "searcher", "user", "searcher")):
            study.run(trial, [0.1], {NUMBER: 0.5}, origin=origin)
        found = sweep_report(study, searcher=QuasiRandom(), space=TWO)
        assert [trial.trial for trial in drawn_at_random(found.spec, found.trials)] == [2, 4]
        learnt = found.spec.model_copy(update={"searcher": Tpe(), "warm_start": ("other",)})
        assert drawn_at_random(learnt, found.trials) == []

    def test_trials_that_a_scheduler_stopped_count_by_their_value_at_the_first_rung(self) -> None:
        study = Study(epochs=9)
        for trial in range(8):
            aps = [0.1 * trial] * (9 if trial >= 6 else 3)
            study.run(trial, aps, {NUMBER: 0.02 + trial})
        found = sweep_report(study, space=TWO, searcher=Random(), scheduler=Asha()).effects
        assert found is not None
        assert (found.num_trials, found.epoch, found.num_without_value) == (8, 3, 0)

    def test_a_grid_compares_trials_with_equal_other_values(self) -> None:
        space = {"a": Choice(values=(1, 2)), "b": Choice(values=("x", "y", "z"))}
        study = Study(epochs=1)
        # The budget ended before the grid: (2, z) is missing, and z alone is good.
        aps = {(1, "x"): 0.10, (1, "y"): 0.11, (1, "z"): 0.90, (2, "x"): 0.11, (2, "y"): 0.10}
        for trial, ((a, b), ap) in enumerate(aps.items()):
            study.run(trial, [ap], {"a": a, "b": b})
        of_a = found_in(sweep_report(study, space=space, searcher=Grid(), scheduler=RunAll()), "a")
        # Among x and y, both values of a are alike; over all five trials, a = 1 is ahead.
        assert (of_a.num_trials, of_a.p_adjusted) == (4, 1.0)

    def test_nothing_is_tested_if_values_change_during_a_trial(self) -> None:
        found = effects(sweep_spec(scheduler=PopulationBased(), space=TWO), [])
        assert found.dimensions == []
        assert "changes the values of a trial while it trains" in found.why_untested


class TestFindings:
    def test_the_best_part_of_a_range_has_its_difference_with_an_interval(self) -> None:
        found = report(40, lambda values: 0.02 * np.log10(values[NUMBER]))
        scale = found_in(found, NUMBER)
        assert scale.verdict == "mattered"
        assert [each.value for each in scale.values] == ["1 to 10", "0.1 to 1", "0.01 to 0.1"]
        worst = scale.values[-1]
        assert worst.behind is not None and worst.low is not None and worst.high is not None
        assert worst.low < 0.04 < worst.high
        assert worst.behind == pytest.approx(scale.values[0].mean - worst.mean)
        assert "mattered (p < 0.001). Best: 1 to 10; over 0.1 to 1 +0.0" in scale.finding
        assert "AP (95 % interval +0.0" in scale.finding
        assert any(each.startswith("Shown to matter") and NUMBER in each for each in found.verdict)

    def test_the_best_is_the_lowest_if_the_objective_is_minimised(self) -> None:
        minimised = [{"metric": "ap", "direction": "minimize"}]
        found = report(40, lambda values: 0.02 * np.log10(values[NUMBER]), objectives=minimised)
        assert found_in(found, NUMBER).values[0].value == "0.01 to 0.1"

    def test_a_setting_without_effect_says_what_it_costs_to_know_more(self) -> None:
        found = report(12, lambda values: 0.0)
        mask = found_in(found, MASK)
        assert (mask.verdict, mask.values, mask.effect) == ("not_shown", [], 0.01)
        assert mask.trials_needed is not None and mask.trials_needed > 12
        busy_h = np.mean([trial.busy_s for trial in found.trials]) / 3600
        assert mask.hours == pytest.approx((mask.trials_needed - 12) * busy_h)
        assert f"{mask.trials_needed} random trials find a difference of 0.010 AP" in mask.to_know

    def test_after_a_searcher_that_learns_the_random_trials_begin_from_zero(self) -> None:
        mask = found_in(report(12, lambda values: 0.0, searcher=Tpe(startup_trials=12)), MASK)
        random = found_in(report(12, lambda values: 0.0), MASK)
        assert mask.hours is not None and random.hours is not None
        assert mask.trials_needed == random.trials_needed
        assert mask.hours > random.hours

    def test_enough_trials_without_a_finding_rule_the_effect_out(self) -> None:
        found = report(300, lambda values: 0.0)
        assert found_in(found, MASK).to_know == "a difference of 0.010 AP would have been found four times in five"

    def test_it_says_over_which_data_it_holds(self) -> None:
        found = report(12, lambda values: 0.0).effects
        assert found is not None
        assert found.holds_for.startswith("Measured on shapes (400 training images")
        assert "retinanet resnet" in found.holds_for
        assert "with one training seed (0)" in found.holds_for

    def test_nothing_is_said_while_the_sweep_runs(self) -> None:
        assert report(12, lambda values: 0.0, state="running").effects is None


@pytest.fixture(scope="module")
def found() -> SweepReport:
    return report(40, lambda values: 0.02 * np.log10(values[NUMBER]))


class TestShown:
    def test_the_page_and_the_terminal_have_the_findings_of_the_json(self, found: SweepReport) -> None:
        effects = Effects.model_validate(json.loads(found.model_dump_json())["effects"])
        console = Console(width=1000, force_terminal=False)
        with console.capture() as capture:
            console.print(effects_table(effects))
        page, terminal = render_sweep_html(found), capture.get()
        for each in effects.dimensions:
            assert each.path in terminal and each.finding in terminal and each.to_know in terminal
            assert each.finding.replace("<", "&lt;") in page
        assert effects.holds_for in page

    def test_a_report_of_an_older_version_is_still_read(self, found: SweepReport) -> None:
        old = found.model_dump(mode="json", exclude={"effects"})
        old["importance"]["p_value"] = 0.01
        assert SweepReport.model_validate(old).effects is None
