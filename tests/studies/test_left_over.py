"""Whom distilling hurts: planted effects are found, and few others; groups and disagreement on known objects."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from fgd_core.spec.results import AlteredScores
from fgd_core.spec.study_findings.left_over import Disagreement, LeftOver
from fgd_core.statistics.alteration import alteration
from fgd_core.statistics.evidence import Evidence
from fgd_core.studies.fairness import Group
from fgd_core.studies.group_rates import individual
from fgd_core.studies.left_over import left_over
from fgd_core.studies.runs import StudyRun
from tests.compare.simulation import Ground
from tests.studies.drawn import planted, run, runs

EVEN = [0.7] * 4
TEACHER = [replace(run(0, [0.6]), altered=AlteredScores(num_copies=2, ap=None, flips=0.1, score_change=0.05))]


def seen(seed: int, ground: Ground, skill: Sequence[float]) -> StudyRun:
    """A run whose detections are drawn; its APs are its skills, plus noise."""
    noise = 0.004 * np.random.default_rng(seed).normal(size=len(skill))
    return replace(run(seed, np.array(skill) + noise), evidence=ground.detector(seed, skill))


def shares(found: LeftOver) -> dict[tuple[str, str], float]:
    return {(each.first, each.second): each.share for each in found.disagreements}


@pytest.fixture(scope="module")
def found() -> LeftOver:
    """Distilling loses the last class, and the teacher is the distilled student of seed 20."""
    ground = Ground(1, num_images=200, boxes_per_class=[150] * 4)
    plain = [seen(10 + seed, ground, EVEN) for seed in range(4)]
    distilled = [seen(20 + seed, ground, [0.7, 0.7, 0.7, 0.2]) for seed in range(4)]
    groups = {
        "kind": {"one": Group(classes=frozenset({"class 0"})), "last": Group(classes=frozenset({"class 3"}))},
        "half": {"low": Group(image_ids=frozenset(range(100))), "high": Group(image_ids=frozenset(range(100, 200)))},
    }
    return left_over(plain, distilled, [distilled[0]], groups=groups)


class TestClasses:
    def test_planted_losses_are_found_and_few_others(self) -> None:
        found = planted(draws=1000, seeds=5, num_classes=20, num_hurt=4, effect=3.5)
        print(f"power {found.power:.3f}, false discoveries {found.false_discoveries:.3f}")
        assert found.power >= 0.8
        # q is 0.05; over 1,000 draws the mean share has a standard deviation of about 0.003.
        assert found.false_discoveries <= 0.05 + 2 * 0.003

    def test_without_an_effect_few_studies_name_a_class(self) -> None:
        found = planted(draws=400, seeds=3, num_classes=20, num_hurt=0, effect=0.0)
        assert found.any_false <= 0.05 + 2 * 0.011

    def test_an_equal_gain_of_all_classes_leaves_nothing_over(self) -> None:
        dice = np.random.default_rng(3)
        plain, better = (0.4 + gain + 0.01 * dice.normal(size=(5, 6)) for gain in (0.0, 0.1))
        found = left_over(runs(plain), runs(better), runs(np.full((1, 6), 0.6)))
        assert (found.lost, found.num_changed) == ([], 0)
        assert found.sentences[0] == "Distilling is not shown to hurt any of 6 tested classes; it helps 6."

    def test_a_class_that_only_the_teacher_is_bad_at_differs_from_the_teacher(self) -> None:
        dice = np.random.default_rng(4)
        plain, distilled = (0.4 + 0.005 * dice.normal(size=(5, 6)) for _ in range(2))
        teacher = np.array([[0.6, 0.6, 0.6, 0.6, 0.6, 0.3]])
        found = left_over(runs(plain), runs(distilled), runs(teacher))
        assert found.classes[5].from_teacher is not None
        assert found.classes[5].from_teacher.finding == "gained"
        assert "is significantly stronger or weaker than its teacher on " in found.sentences[1]
        low, name = min((row.change.low, row.name) for row in found.classes if row.change and row.change.low)
        assert f"A loss is not excluded: the 95 % intervals reach down to {low:+.3f} ({name})." in found.sentences[0]

    def test_one_seed_is_shown_and_not_judged(self) -> None:
        found = left_over(*(runs(np.array([[0.2, 0.3 + arm / 10]])) for arm in range(3)))
        assert found.classes[1].change is not None
        assert found.classes[1].change.finding == "too_little_data"
        assert "one seed" in found.sentences[0]


class TestObjects:
    def test_the_group_that_lost_is_named_and_the_odds_get_worse(self, found: LeftOver) -> None:
        kind = next(each for each in found.group_sets if each.name == "kind")
        findings = {row.name: row.recall.change.finding for row in kind.groups}
        assert findings == {"one": "noise", "last": "lost"}
        assert kind.odds is not None and kind.odds.change.finding == "gained"
        assert "By kind, distilling lowers the recall of last." in found.sentences

    def test_groups_of_images_that_do_not_differ_stay_equal(self, found: LeftOver) -> None:
        half = next(each for each in found.group_sets if each.name == "half")
        assert [row.num_boxes for row in half.groups] == pytest.approx([300, 300], abs=60)
        assert half.odds is not None and half.odds.change.finding == "noise"

    def test_sizes_without_boxes_are_left_out(self, found: LeftOver) -> None:
        size = next(each for each in found.group_sets if each.name == "size")
        assert ([row.name for row in size.groups], size.odds) == (["small"], None)
        assert size.too_small == {"medium": 0, "large": 0}
        assert "By size, groups with fewer than 20 objects are not compared: medium (0), large (0)." in found.sentences

    def test_a_run_agrees_with_itself_and_less_with_others(self, found: LeftOver) -> None:
        assert min(shares(found).values()) == shares(found)["distilled", "teacher"]
        pairs = {(each.first, each.second): each.num_pairs for each in found.disagreements}
        assert pairs == {
            ("plain", "plain"): 6,
            ("distilled", "distilled"): 6,
            ("plain", "distilled"): 16,
            ("plain", "teacher"): 4,
            ("distilled", "teacher"): 4,
        }

    def test_the_same_detections_agree_on_each_object(self) -> None:
        ground = Ground(2, num_images=50, boxes_per_class=[80])
        one, other = seen(1, ground, [0.7]), seen(2, ground, [0.7])
        same = left_over([one], [one], [one])
        apart = left_over([one], [other], [other])
        assert shares(same)["plain", "distilled"] == 0 < shares(apart)["plain", "distilled"] < 1

    def test_runs_without_evidence_have_no_groups(self) -> None:
        found = left_over(*(runs(np.full((2, 2), 0.3)) for _ in range(3)))
        assert (found.group_sets, found.disagreements, found.individual) == ([], [], None)

    def test_files_of_older_versions_have_groups_and_no_disagreement(self) -> None:
        ground = Ground(2, num_images=50, boxes_per_class=[80])
        arrays = {name: array for name, array in ground.detector(1, [0.7])._arrays.items() if name != "truth"}
        old = [replace(run(seed, [0.7]), evidence=Evidence(arrays)) for seed in range(2)]
        found = left_over(old, old, old)
        assert found.group_sets and found.disagreements == list[Disagreement]()


def steadiness(dice: np.random.Generator, flips: float, *, seeds: int = 5) -> list[StudyRun]:
    """Runs of which each flips 500 objects at random, with a chance that differs from seed to seed."""
    chances = flips * dice.uniform(0.8, 1.2, seeds)
    drawn = dice.binomial(500, chances) / 500
    return [
        replace(run(seed, [0.5]), altered=AlteredScores(num_copies=2, ap=None, flips=share, score_change=share / 2))
        for seed, share in enumerate(drawn)
    ]


class TestIndividuals:
    @pytest.mark.parametrize(("factor", "low", "high"), [(1.0, 0.0, 0.05 + 2 * 0.011), (1.6, 0.8, 1.0)])
    def test_less_steady_students_are_found_and_others_are_not(self, factor: float, low: float, high: float) -> None:
        dice, found = np.random.default_rng(6), 0
        for _ in range(400):
            rates = individual(
                {"plain": steadiness(dice, 0.1), "distilled": steadiness(dice, 0.1 * factor), "teacher": TEACHER}
            )
            assert rates is not None
            found += rates.flips.change.finding in ("gained", "lost")
        print(f"found in {found / 400:.3f} of the studies")
        assert low <= found / 400 <= high

    def test_the_answer_says_how_often_objects_appear_or_disappear(self) -> None:
        dice = np.random.default_rng(7)
        found = left_over(steadiness(dice, 0.05), steadiness(dice, 0.2), TEACHER)
        assert "for the teacher: less steady." in found.sentences[-1]
        assert found.individual is not None
        assert found.individual.flips.plain < found.individual.flips.distilled
        assert found.individual.score_change.change.finding == "gained"

    def test_nothing_is_said_if_a_run_saw_no_altered_images(self) -> None:
        plain = steadiness(np.random.default_rng(8), 0.1)
        assert left_over(plain, [*plain[1:], replace(plain[0], altered=None)], TEACHER).individual is None

    def test_an_object_flips_if_its_score_crosses_the_threshold_of_the_original(self) -> None:
        ground = Ground(2, num_images=50, boxes_per_class=[80, 40])
        one, other = (ground.detector(seed, [0.7, 0.5]) for seed in (1, 2))
        assert alteration(one, one) == (0, 0)
        apart = alteration(one, other)
        assert 0.1 < apart.flips < 1 and 0.1 < apart.score_change < 1


def test_a_number_that_rises_with_the_temperature_has_a_trend() -> None:
    dice = np.random.default_rng(5)
    levels = {t: runs(0.3 + 0.02 * np.log2(t) + 0.004 * dice.normal(size=(3, 2))) for t in (1.0, 2.0, 4.0)}
    found = left_over(levels[1.0], levels[4.0], levels[4.0], over={"temperature": levels})
    ap = next(each for each in found.trends if each.of == "AP")
    assert (ap.over, ap.per_doubling) == ("temperature", pytest.approx(0.02, abs=0.006))
    assert ap.low < 0.02 < ap.high and ap.p < 0.01
    assert [level.num_runs for level in ap.levels] == [3, 3, 3]
    assert f"Each time temperature is doubled, AP changes by {ap.per_doubling:+.3f}" in " ".join(found.sentences)


def test_a_number_that_is_the_same_in_all_runs_has_no_trend() -> None:
    levels = {t: runs(np.zeros((2, 2))) for t in (1.0, 2.0)}
    found = left_over(levels[1.0], levels[2.0], levels[2.0], over={"temperature": levels})
    assert [(each.per_doubling, each.low, each.high, each.p) for each in found.trends] == [(0, 0, 0, 1)] * 2
    assert found.sentences[-1] == "None of 2 trends over temperature is shown: each may be chance."


def test_a_number_that_stays_has_no_trend_in_the_answer() -> None:
    dice = np.random.default_rng(6)
    levels = {t: runs(0.3 + 0.004 * dice.normal(size=(3, 2))) for t in (1.0, 2.0, 4.0)}
    found = left_over(levels[1.0], levels[4.0], levels[4.0], over={"temperature": levels})
    assert found.sentences[-1] == "None of 2 trends over temperature is shown: each may be chance."
