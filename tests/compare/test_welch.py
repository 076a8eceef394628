"""Welch's test over few seeds, and the interval of a mean."""

import random
from collections.abc import Sequence

import pytest

from fgd_core.statistics.welch import Difference, mean_interval, sample, welch


def difference(values: Sequence[float], others: Sequence[float]) -> Difference | None:
    first, second = sample(values), sample(others)
    assert first is not None and second is not None
    return welch(first, second)


def test_the_interval_of_three_seeds() -> None:
    # Mean 2, standard deviation 1, t(2) = 4.3027: 2 ± 4.3027 / √3.
    interval = mean_interval([1.0, 2.0, 3.0])
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx((2 - 2.48414, 2 + 2.48414), abs=1e-4)


def test_one_seed_gives_no_interval() -> None:
    assert mean_interval([0.4]) is None
    assert sample([0.4]) is None


def test_with_equal_variances_and_counts_it_equals_students_test() -> None:
    # Means 4 and 2, variances 1: t = 2 / √(2/3) = 2.4495 with 4 degrees, p = 0.0705.
    test = difference([3.0, 4.0, 5.0], [1.0, 2.0, 3.0])
    assert test is not None
    assert test.p_value == pytest.approx(0.0705, abs=5e-5)
    assert (test.interval.low, test.interval.high) == pytest.approx((-0.26696, 4.26696), abs=1e-4)


def test_seeds_that_agree_exactly_give_no_p() -> None:
    assert difference([1.0, 1.0], [0.0, 0.0]) is None
    same = difference([1.0, 1.0], [1.0, 1.0])
    assert same is not None
    assert (same.p_value, same.interval.low, same.interval.high) == (1.0, 0.0, 0.0)


@pytest.mark.parametrize(("ours", "theirs"), [(2, 2), (2, 3), (3, 3), (2, 5), (2, 10), (3, 10), (5, 5)])
def test_without_an_effect_at_most_5_percent_are_significant(ours: int, theirs: int) -> None:
    dice = random.Random(4)

    def p() -> float:
        found = difference([dice.gauss(0, 1) for _ in range(ours)], [dice.gauss(0, 1) for _ in range(theirs)])
        assert found is not None
        return found.p_value

    significant = sum(p() < 0.05 for _ in range(2000))
    print(f"{ours} against {theirs}: {significant / 2000:.1%}")
    # 5 % of 2,000 is 100, with a standard deviation of 9.7.
    assert significant <= 119
