"""The adjustment of p-values after Benjamini and Hochberg, against SciPy's."""

import pytest
from scipy import stats

from fgd_core.statistics.false_discovery import adjusted


@pytest.mark.parametrize(
    "p_values",
    [[0.2, 0.001, 0.9, 0.011, 0.01], [0.04, 0.04, 0.04], [1.0], [0.03, 0.5, 0.031, 0.032]],
    ids=["in any order", "equal", "one", "smaller ones after larger ones"],
)
def test_equals_scipy(p_values: list[float]) -> None:
    assert adjusted(p_values) == pytest.approx(stats.false_discovery_control(p_values).tolist())


def test_nothing_stays_nothing() -> None:
    assert adjusted([]) == []
