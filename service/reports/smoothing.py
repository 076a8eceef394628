"""Smooths values at places of a square into a map, in plain Python: the server loads no NumPy."""

import math
from collections.abc import Sequence
from operator import add, mul
from statistics import fmean
from typing import NamedTuple, Self

REACH = 0.22
"""The map is drawn up to this distance from the nearest point, as a part of a side."""
KERNEL = 0.12
"""The standard deviation of the weights, as a part of a side."""
_CELLS = 16


class Point(NamedTuple):
    """A value, or the mean of values near each other; x and y are from 0 to 1 inside of the square."""

    x: float
    y: float
    value: float
    weight: int = 1


def gathered(points: Sequence[Point]) -> Sequence[Point]:
    """Replace the points of each cell of a grid by their mean, if they are many.

    A cell is half as wide as the kernel that smooths them, so the map hardly changes.
    """
    if len(points) <= _CELLS**2:
        return points
    cells: dict[tuple[int, int], list[Point]] = {}
    for point in points:
        cells.setdefault((int(point.x * _CELLS), int(point.y * _CELLS)), []).append(point)
    return [
        Point(
            x=fmean(point.x for point in together),
            y=fmean(point.y for point in together),
            value=fmean(point.value for point in together),
            weight=len(together),
        )
        for together in cells.values()
    ]


def smoothed(sides: Sequence[float], points: Sequence[Point]) -> list[list[float | None]]:
    """The mean of the points' values at each place of a grid, weighted by nearness; None far from all points.

    The kernel is the product of a factor along each axis, so it is computed for each line of the grid and not for each
    place.

    Args:
        sides: the x of the grid's columns and the y of its rows.
    Returns:
        A row for each y, with a value for each x.
    """
    across = [_Distances.of(side, [point.x for point in points]) for side in sides]
    weights, values = [point.weight for point in points], [point.value for point in points]
    rows = []
    for up in (_Distances.of(side, [point.y for point in points]) for side in sides):
        weighted = [*map(mul, weights, up.near)]
        totals = [*map(mul, weighted, values)]
        rows.append(
            [
                sum(map(mul, totals, along.near)) / sum(map(mul, weighted, along.near))
                if min(map(add, along.squares, up.squares)) <= REACH**2
                else None
                for along in across
            ]
        )
    return rows


class _Distances(NamedTuple):
    """Holds how far each point is from a line of the grid."""

    squares: Sequence[float]
    near: Sequence[float]
    """The kernel's factor along this axis."""

    @classmethod
    def of(cls, side: float, places: Sequence[float]) -> Self:
        squares = [(side - place) ** 2 for place in places]
        return cls(squares, [math.exp(-square / (2 * KERNEL**2)) for square in squares])
