"""The constraint of a sweep that no class loses: who is passed over, what the report says, and how often it errs."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from benchmarks.sweep_constraint import Case, outcomes, rates
from fgd_core.spec.results import ClassScore, RunResult, Scores
from fgd_core.spec.search import NoClassLoses, RunAll
from fgd_core.spec.sweep_report import SweepReport
from tests.reports.recorded_jobs import scores
from tests.reports.recorded_sweeps import Study, sweep_report

PLAIN, HARMFUL, HARMLESS = 0, 1, 2
WOBBLE = (0.0, 0.004, -0.004, 0.002, -0.002)


def of_classes(small: float = 0.2, *, num_boxes: int = 100, **aps: float) -> Scores:
    per_class = {name: ClassScore(ap=ap, ap50=ap, num_boxes=num_boxes) for name, ap in aps.items()}
    fields = {"ap": sum(aps.values()) / len(aps), "per_class": per_class, "ap_small": small}
    return scores(0.3).model_copy(update=fields)


def report(arms: Sequence[Mapping[str, float]], *, seeds: int = 5, num_boxes: int = 100, **changes: Any) -> SweepReport:
    """Return the report of a sweep whose arms, the plain student first, have the given APs, wobbling over the seeds."""
    study = Study(epochs=1)
    for first, aps in enumerate(arms):
        for seed in range(seeds):
            # The first seed of all arms comes first, as in a real sweep.
            trial = first if seed == 0 else len(arms) + first * (seeds - 1) + seed - 1
            again = {"repeats": first, "origin": "finalist"} if seed else {"origin": "searcher" if first else "plain"}
            found = of_classes(
                **{name: ap + WOBBLE[(seed + first) % 5] for name, ap in aps.items()}, num_boxes=num_boxes
            )
            study.start(trial, {"method.scale": float(first)}, seed=seed, **again)
            study.report(trial, 1, found.ap)
            result = RunResult(
                scores=found, num_parameters=1, images_per_s=1.0, num_images=9, train_s=1.0, device="cpu"
            )
            study.end(trial, "completed", 1, result=result, objectives=[found.ap])
    fields = {"seeds": seeds, "scheduler": RunAll(), "constraint": NoClassLoses()} | changes
    return sweep_report(study, **fields)


BASE = {"cat": 0.30, "dog": 0.30, "car": 0.30}
WINS_BUT_HARMS = {"cat": 0.50, "dog": 0.50, "car": 0.25}
WINS_LESS = {"cat": 0.34, "dog": 0.34, "car": 0.34}


class TestConstraint:
    def test_the_best_configuration_without_a_losing_class_is_recommended(self) -> None:
        found = report([BASE, WINS_BUT_HARMS, WINS_LESS])
        assert [each.trial for each in found.standings] == [HARMLESS, PLAIN, HARMFUL]
        assert [each.rank for each in found.standings] == [1, 2, 3]
        assert found.recommendation is not None
        assert found.recommendation.trial == HARMLESS

    def test_without_the_constraint_the_best_mean_wins(self) -> None:
        found = report([BASE, WINS_BUT_HARMS, WINS_LESS], constraint=None)
        assert found.standings[0].trial == HARMFUL
        assert found.standings[0].constraint is None

    def test_the_report_names_the_class_that_lost_and_by_how_much(self) -> None:
        found = report([BASE, WINS_BUT_HARMS, WINS_LESS])
        (check,) = [each.constraint for each in found.standings if each.trial == HARMFUL]
        assert check is not None
        (loss,) = check.losses
        assert (check.verdict, loss.of, loss.name) == ("lost", "class", "car")
        assert loss.mean - loss.plain == pytest.approx(-0.05, abs=0.003)
        assert loss.interval.low < -0.05 < loss.interval.high < 0
        (said,) = [sentence for sentence in found.verdict if "passed over" in sentence]
        assert "Trial 1" in said
        assert "car −0.05" in said

    def test_a_size_of_objects_may_not_lose_either(self) -> None:
        found = report([BASE | {"small": 0.2}, WINS_LESS | {"small": 0.1}])
        (check,) = [each.constraint for each in found.standings if each.trial == 1]
        assert check is not None
        assert [(loss.of, loss.name) for loss in check.losses] == [("size", "small")]
        only_classes = report(
            [BASE | {"small": 0.2}, WINS_LESS | {"small": 0.1}], constraint=NoClassLoses(over=("classes",))
        )
        assert only_classes.standings[0].trial == 1

    def test_if_none_is_left_it_recommends_no_distillation(self) -> None:
        found = report([BASE, WINS_BUT_HARMS])
        assert found.recommendation is not None
        assert found.recommendation.trial == PLAIN
        assert found.verdict[0].startswith("Do not distil with any of these values: nothing that is shown to fulfil")
        assert found.runner_up is None

    def test_a_configuration_without_fresh_seeds_is_not_recommended(self) -> None:
        found = report([BASE, WINS_LESS], seeds=1)
        assert [each.trial for each in found.standings] == [PLAIN, 1]
        (check,) = [each.constraint for each in found.standings if each.trial == 1]
        assert check is not None
        assert check.verdict == "untested"

    def test_without_the_student_without_distillation_nothing_is_recommended(self) -> None:
        study = Study(epochs=1)
        study.run(0, [0.3])
        found = sweep_report(study, constraint=NoClassLoses(), seeds=3)
        assert found.recommendation is None
        assert found.verdict[0].startswith("No configuration is recommended")

    def test_nothing_is_decided_while_the_sweep_runs(self) -> None:
        found = report([BASE, WINS_BUT_HARMS, WINS_LESS], state="running")
        assert found.standings[0].trial == HARMFUL
        assert {each.constraint.verdict for each in found.standings if each.constraint} == {"pending"}

    def test_a_class_with_few_boxes_is_not_tested(self) -> None:
        found = report([BASE, WINS_BUT_HARMS], num_boxes=19, constraint=NoClassLoses(over=("classes",)))
        assert found.standings[-1].constraint is not None
        assert (found.standings[-1].constraint.verdict, found.standings[-1].constraint.num_untested) == ("untested", 3)

    def test_the_report_says_which_losses_may_be_missed(self) -> None:
        found = report([BASE, WINS_LESS])
        assert found.standings[0].constraint is not None
        smallest = found.standings[0].constraint.power_from
        assert smallest is not None
        assert any(f"A true loss below {smallest:.3f} AP" in sentence for sentence in found.verdict)


class TestErrorRates:
    @pytest.mark.parametrize("seeds", [3, 5])
    def test_a_harmless_configuration_is_refused_in_at_most_one_of_twenty_cases(self, seeds: int) -> None:
        found = rates(list(outcomes(Case(seeds=seeds), 150, seed=1)))["refused_falsely"]
        assert found is not None
        assert found.interval[0] <= 0.05

    def test_a_loss_of_three_standard_deviations_is_caught_and_seldom_recommended(self) -> None:
        found = rates(list(outcomes(Case(gain=1.0, loss=3.0), 150, seed=2)))
        caught, before, after = (
            found[name] for name in ("caught", "harmful_without_constraint", "harmful_recommended")
        )
        assert caught is not None
        assert before is not None
        assert after is not None
        assert caught.interval[1] >= 0.8
        assert after.share < before.share / 2
