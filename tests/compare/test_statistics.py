"""What is called a change, and how often wrongly."""

import numpy as np
import pytest
from scipy import stats

from fgd_core.spec.comparison import Change, Finding
from fgd_core.statistics.evidence import Evidence
from fgd_core.statistics.seeds import Differences, Measured, Points, by_seeds
from fgd_core.statistics.verdicts import alone, among_many
from service.compare.statistics import by_images, points
from tests.compare.simulation import Ground

BOXES = [25, 40, 60, 80, 120, 200, 300, 30, 50, 70]
EVEN = [0.6] * len(BOXES)


def on_images(first: Evidence, second: Evidence, *, resamples: int = 1000, seed: int = 0) -> Differences:
    exact = points([first]), points([second])
    return by_images([first], [second], exact=exact, resamples=resamples, seed=seed)


def findings(measured: list[Measured | None], boxes: list[int] = BOXES) -> list[Finding | None]:
    judged = among_many(measured, num_boxes=boxes)
    return [difference.finding if difference else None for difference in judged]


def found(difference: Change | None) -> Finding | None:
    return difference.finding if difference else None


def group(*runs: list[float]) -> Points:
    """APs per class of each run."""
    classes = np.array(runs)
    whole = np.nanmean(classes, axis=1, keepdims=True)
    return Points(scores=np.repeat(whole, 6, axis=1), classes=classes)


class TestImages:
    def test_a_run_has_no_difference_from_itself(self) -> None:
        run = Ground(1, num_images=100, boxes_per_class=BOXES).detector(1, EVEN)
        differences = on_images(run, run, resamples=200)
        assert differences.scores[0] == Measured(0, 0, 0, 1)
        assert set(findings(differences.classes)) == {"noise"}

    def test_the_seed_reproduces_the_interval_and_other_seeds_change_it_little(self) -> None:
        ground = Ground(1, num_images=100, boxes_per_class=BOXES)
        first, second = ground.detector(1, EVEN), ground.detector(2, EVEN)
        one, again, other = (on_images(first, second, seed=seed).scores[0] for seed in (5, 5, 6))
        assert one == again != other
        assert one is not None and one == pytest.approx(other, abs=0.05)
        assert one.low < one.value < one.high

    def test_without_a_difference_intervals_contain_zero_as_often_as_stated(
        self,
    ) -> None:
        outside, called, whole, tested = 0, 0, 0, 0
        for seed in range(25):
            ground = Ground(seed, num_images=150, boxes_per_class=BOXES)
            differences = on_images(
                ground.detector(1000 + seed, EVEN), ground.detector(2000 + seed, EVEN), resamples=400
            )
            outside += sum(not one.low <= 0 <= one.high for one in differences.classes if one)
            called += sum(finding in ("gained", "lost") for finding in findings(differences.classes))
            whole += differences.scores[0].p <= 0.05
            tested += len(BOXES)
        print(f"of {tested} classes without a difference {outside} intervals lie off zero, {called} are called changed")
        # 250 intervals at 5 %: 12.5, with a standard deviation of 3.4.
        assert outside <= 23
        assert called <= 5
        assert whole <= 5

    def test_with_few_images_false_alarms_are_no_more_frequent_than_promised(self) -> None:
        called = 0
        for seed in range(150):
            ground = Ground(seed, num_images=8, boxes_per_class=[20, 20])
            first, second = ground.detector(1000 + seed, [0.6, 0.6]), ground.detector(5000 + seed, [0.6, 0.6])
            called += found(alone(on_images(first, second, resamples=400).scores[0], num_boxes=40)) != "noise"
        print(f"of 150 comparisons on 8 images {called} are called changed")
        # 5 % of 150 is 7.5, with a standard deviation of 2.7.
        assert called <= 12

    def test_a_simulated_difference_is_found_in_its_class_only(self) -> None:
        ground = Ground(3, num_images=300, boxes_per_class=BOXES)
        skill = [*EVEN]
        skill[5], skill[6] = 0.85, 0.3
        differences = on_images(ground.detector(1, skill), ground.detector(2, EVEN))
        assert findings(differences.classes) == [*["noise"] * 5, "gained", "lost", *["noise"] * 3]

    def test_one_changed_class_among_eighty_is_found_with_a_thousand_resamples(self) -> None:
        boxes = [200] + [30] * 79
        ground = Ground(4, num_images=300, boxes_per_class=boxes)
        first = ground.detector(1, [0.95] + [0.5] * 79)
        differences = on_images(first, ground.detector(2, [0.3] + [0.5] * 79))
        assert findings(differences.classes, boxes)[0] == "gained"

    def test_an_equal_gain_of_all_classes_singles_out_no_class(self) -> None:
        ground = Ground(5, num_images=400, boxes_per_class=[300] * 6)
        differences = on_images(ground.detector(1, [0.8] * 6), ground.detector(2, [0.4] * 6))
        assert set(findings(differences.classes, [300] * 6)) == {"gained"}
        assert set(findings(differences.beyond_overall, [300] * 6)) == {"noise"}


class TestSeeds:
    def test_the_values_equal_scipys(self) -> None:
        rng = np.random.default_rng(0)
        first, second = group(*rng.random((4, 3)).tolist()), group(*rng.random((3, 3)).tolist())
        differences = by_seeds(first, second)
        for place, one in enumerate(differences.classes):
            expected = stats.ttest_ind(first.classes[:, place], second.classes[:, place], equal_var=False)
            assert one is not None and one.p == pytest.approx(expected.pvalue)
            assert (one.low, one.high) == pytest.approx(expected.confidence_interval(0.95))

    def test_the_values_equal_a_calculation_by_hand(self) -> None:
        a, b = [0.30, 0.34, 0.32], [0.20, 0.28, 0.18, 0.22]
        va, vb = np.var(a, ddof=1) / 3, np.var(b, ddof=1) / 4
        t = (np.mean(a) - np.mean(b)) / np.sqrt(va + vb)
        df = (va + vb) ** 2 / (va**2 / 2 + vb**2 / 3)
        (one,) = by_seeds(group(*[[x] for x in a]), group(*[[x] for x in b])).classes
        assert one is not None and one.p == pytest.approx(2 * stats.t.sf(abs(t), df))

    def test_each_class_is_compared_with_the_ap_of_its_run(self) -> None:
        """Every class gains 0.1, one of them 0.2 more: that one moved otherwise than the whole."""
        rng = np.random.default_rng(1)
        base = np.array([0.3, 0.4, 0.5, 0.2, 0.6, 0.35, 0.45, 0.25])
        second = base + rng.normal(0, 0.004, (3, 8))
        first = base + 0.1 + np.eye(8)[3] * 0.2 + rng.normal(0, 0.004, (3, 8))
        differences = by_seeds(group(*first.tolist()), group(*second.tolist()))
        assert set(findings(differences.classes, [100] * 8)) == {"gained"}
        beyond = differences.beyond_overall[3]
        assert beyond is not None and beyond.value == pytest.approx(0.2 * 7 / 8, abs=0.02)
        assert findings(differences.beyond_overall, [100] * 8)[3] == "gained"
        assert differences.beyond_overall[0] is not None and differences.beyond_overall[0].value < 0

    def test_without_a_difference_few_classes_are_called_changed(self) -> None:
        rng = np.random.default_rng(2)
        called = raw = 0
        for _ in range(50):
            draw = rng.normal(0.4, 0.02, (6, 20)) + rng.normal(0, 0.03, (6, 1))
            differences = by_seeds(group(*draw[:3].tolist()), group(*draw[3:].tolist()))
            called += sum(f in ("gained", "lost") for f in findings(differences.beyond_overall, [100] * 20))
            raw += sum(one.p <= 0.05 for one in differences.beyond_overall if one)
        print(f"of 1000 classes without a difference {raw} have a p of at most 0.05, {called} are called changed")
        assert raw <= 75
        assert called <= 10

    @pytest.mark.parametrize(("ours", "theirs"), [(2, 2), (2, 3), (3, 3), (2, 5), (2, 10), (3, 10), (5, 5)])
    def test_without_a_difference_false_alarms_are_no_more_frequent_than_promised(self, ours: int, theirs: int) -> None:
        rng = np.random.default_rng(3)
        # Each column is a comparison of its own.
        first, second = rng.normal(0.4, 0.02, (ours, 2000)), rng.normal(0.4, 0.02, (theirs, 2000))
        measured = by_seeds(*(Points(scores=each, classes=each) for each in (first, second))).scores
        called = sum(found(alone(one, num_boxes=100)) != "noise" for one in measured)
        print(f"{ours} against {theirs}: {called / 2000:.1%}")
        # 5 % of 2,000 is 100, with a standard deviation of 9.7.
        assert called <= 119

    def test_seeds_that_agree_exactly_give_no_verdict(self) -> None:
        one, other = by_seeds(group([0.2, 0.5], [0.2, 0.5]), group([0.3, 0.5], [0.3, 0.5])).classes
        assert one == Measured(pytest.approx(-0.1))
        assert other == Measured(0, 0, 0, 1)

    def test_a_single_class_cannot_differ_from_the_overall_ap(self) -> None:
        assert by_seeds(group([0.2], [0.3]), group([0.1], [0.5])).beyond_overall == [None]


class TestVerdicts:
    def test_p_is_adjusted_as_benjamini_and_hochberg_do(self) -> None:
        p = [0.001, 0.011, 0.02, 0.04, 0.8]
        judged = among_many([Measured(0.1, 0.0, 0.2, value) for value in p], num_boxes=[50] * 5)
        assert [one.p_adjusted for one in judged if one] == pytest.approx([0.005, 0.0275, 1 / 30, 0.05, 0.8])
        assert [one.p for one in judged if one] == p
        assert [found(one) for one in judged] == ["gained"] * 4 + ["noise"]

    def test_more_tests_need_a_smaller_p(self) -> None:
        twenty = among_many([Measured(0.1, 0.01, 0.2, 0.04)] + [Measured(0, -1, 1, 0.9)] * 19, num_boxes=[50] * 20)
        assert found(twenty[0]) == "noise"
        assert found(alone(Measured(0.1, 0.01, 0.2, 0.04), num_boxes=50)) == "gained"

    def test_a_class_with_fewer_than_twenty_boxes_is_not_tested_nor_counted(self) -> None:
        judged = among_many([Measured(-0.5, -0.6, -0.4, 0.0001), Measured(-0.1, -0.2, 0, 0.04)], num_boxes=[19, 20])
        assert [found(one) for one in judged] == ["too_little_data", "lost"]
        assert judged[0] is not None and judged[0].value == -0.5 and judged[0].p is None
        assert judged[1] is not None and judged[1].p_adjusted == 0.04

    def test_a_class_without_a_score_has_no_verdict(self) -> None:
        assert among_many([None], num_boxes=[0]) == [None]
        assert alone(None, num_boxes=0) is None
