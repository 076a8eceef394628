"""The power of Welch's test, and the seeds that a gain needs, against simulated studies."""

import numpy as np
import pytest
from scipy import stats

from fgd_core.statistics import power as measure
from fgd_core.statistics.welch import Sample, sample


def groups(seeds: int, *sds: float) -> list[Sample]:
    return [Sample(mean=0.0, count=seeds, variance=sd * sd, freedom=seeds - 1) for sd in sds]


@pytest.mark.parametrize(
    ("seeds", "sds", "gain"), [(3, (1, 1), 3.0), (5, (1, 1), 2.0), (5, (1, 2), 3.0), (10, (1, 1), 1.0)]
)
def test_the_power_is_the_share_of_simulated_studies_that_show_the_gain(
    seeds: int, sds: tuple[float, float], gain: float
) -> None:
    dice = np.random.default_rng(0)
    plain, better = (dice.normal(size=(20_000, seeds)) * sd for sd in sds)
    shown = stats.ttest_ind(better + gain, plain, axis=1, equal_var=False).pvalue < 0.05
    assert measure.power(gain, groups(seeds, *sds)) == pytest.approx(shown.mean(), abs=0.02)


def test_the_smallest_shown_gain_has_the_power_that_is_promised() -> None:
    five = groups(5, 0.01, 0.02)
    assert measure.power(measure.smallest_shown(five), five) == pytest.approx(measure.POWER, abs=1e-3)


@pytest.mark.parametrize(("seeds", "sds"), [(3, (1.0, 1.0)), (5, (1.0, 1.0)), (5, (1.0, 0.5))])
def test_the_needed_seeds_suffice_in_four_studies_of_five(seeds: int, sds: tuple[float, float]) -> None:
    dice, sufficed, gain = np.random.default_rng(1), [], 1.8
    for _ in range(300):
        pilot = [sample((dice.normal(size=seeds) * sd).tolist()) for sd in sds]
        needed = measure.seeds_needed(gain, [each for each in pilot if each is not None])
        sufficed.append(needed is None or measure.power(gain, groups(needed, *sds)) >= measure.POWER)
    print(f"{seeds} seeds, deviations {sds}: {np.mean(sufficed):.1%} suffice")
    # 80 % of 300, less two standard deviations.
    assert np.mean(sufficed) >= 0.8 - 2 * 0.023


def test_a_gain_that_is_too_small_for_fifty_seeds_has_no_number() -> None:
    assert measure.seeds_needed(0.1, groups(5, 1.0, 1.0)) is None


def test_without_any_spread_each_gain_is_shown() -> None:
    same = groups(3, 0.0, 0.0)
    assert (measure.power(0.01, same), measure.power(0.0, same), measure.seeds_needed(0.01, same)) == (1.0, 0.0, 2)
