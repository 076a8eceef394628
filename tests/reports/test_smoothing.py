"""A map of smoothed values is that of the plain formula."""

import math
import random

import pytest

from service.reports.smoothing import KERNEL, REACH, Point, gathered, smoothed

SIDES = [index / 15 for index in range(16)]


def plain(x: float, y: float, points: list[Point]) -> float | None:
    squares = [(x - point.x) ** 2 + (y - point.y) ** 2 for point in points]
    if min(squares) > REACH**2:
        return None
    weights = [
        point.weight * math.exp(-square / (2 * KERNEL**2)) for square, point in zip(squares, points, strict=True)
    ]
    return sum(w * point.value for w, point in zip(weights, points, strict=True)) / sum(weights)


def drawn(number: int) -> list[Point]:
    """Points in the left half only."""
    dice = random.Random(0)
    return [Point(dice.random() / 2, dice.random(), dice.random(), dice.randint(1, 4)) for _ in range(number)]


def test_each_place_has_the_value_of_the_plain_formula_and_far_ones_have_none() -> None:
    points = drawn(40)
    found = [value for row in smoothed(SIDES, points) for value in row]
    wanted = [plain(x, y, points) for y in SIDES for x in SIDES]
    assert 0 < wanted.count(None) < len(wanted)
    assert found == [value if value is None else pytest.approx(value, abs=1e-12) for value in wanted]


def test_many_points_are_gathered_without_losing_weight_and_the_map_hardly_changes() -> None:
    points = [Point(x, y, x + y) for x, y, *_ in drawn(2000)]
    few = gathered(points)
    assert len(few) <= 16 * 16
    assert sum(point.weight for point in few) == len(points)
    inside = [side for side in SIDES if side <= 0.5]
    for together, apart in zip(smoothed(inside, few), smoothed(inside, points), strict=True):
        assert together == pytest.approx(apart, abs=0.02)
