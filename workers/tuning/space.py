"""The search space of a sweep: its dimensions, sorted so that each condition can be decided."""

import math
from collections.abc import Callable, Mapping

import numpy as np
from pydantic import JsonValue

from fgd_core.spec.dimensions import Choice, Dimension, Integers, LogUniform, Uniform
from fgd_core.spec.paths import field


class Space:
    """Draws and checks values.

    Args:
        base: the base job in JSON; a condition reads it if its field is not searched.
    Raises:
        ValueError: conditions depend on each other in a cycle.
    """

    def __init__(self, dimensions: Mapping[str, Dimension], base: dict[str, JsonValue]) -> None:
        self._base = base
        self.dimensions = _sorted(dimensions)

    def draw(self, choose: Callable[[str, Dimension], JsonValue]) -> dict[str, JsonValue]:
        """Choose values for the dimensions whose conditions hold."""
        values: dict[str, JsonValue] = {}
        for path, dimension in self.dimensions.items():
            if self._is_on(dimension, values):
                values[path] = choose(path, dimension)
        return values

    def contains(self, values: Mapping[str, JsonValue]) -> bool:
        """Return True if `draw` could return these values."""
        if not set(values) <= set(self.dimensions):
            return False
        if any((path in values) != self._is_on(dimension, values) for path, dimension in self.dimensions.items()):
            return False
        return all(_contains(self.dimensions[path], value) for path, value in values.items())

    def at(self, dimension: Dimension, quantile: float) -> JsonValue:
        """Return the value at a quantile of a dimension, 0 <= quantile < 1."""
        match dimension:
            case Uniform():
                return dimension.low + quantile * (dimension.high - dimension.low)
            case LogUniform():
                low, high = math.log(dimension.low), math.log(dimension.high)
                return min(max(math.exp(low + quantile * (high - low)), dimension.low), dimension.high)
            case Integers() if dimension.log:
                low, high = math.log(dimension.low), math.log(dimension.high + 1)
                return min(int(math.exp(low + quantile * (high - low))), dimension.high)
            case Integers():
                return dimension.low + int(quantile * (dimension.high - dimension.low + 1))
            case Choice():
                return dimension.values[int(quantile * len(dimension.values))]

    def grid(self, dimension: Dimension) -> list[JsonValue]:
        """Return every value of a dimension; an empty list for a continuous one."""
        match dimension:
            case Integers():
                return [*range(dimension.low, dimension.high + 1)]
            case Choice():
                return [*dimension.values]
            case _:
                return []

    def perturbed(
        self, values: Mapping[str, JsonValue], rng: np.random.Generator, *, factor: float, resample: float
    ) -> dict[str, JsonValue]:
        """Change each value: multiply or divide it by `factor`, or draw a new one with probability `resample`."""

        def choose(path: str, dimension: Dimension) -> JsonValue:
            redraw, quantile, up = rng.random(), rng.random(), rng.random() < 0.5
            if redraw < resample or path not in values:
                return self.at(dimension, quantile)
            return _near(dimension, values[path], factor if up else 1 / factor, step=1 if up else -1)

        return self.draw(choose)

    def _is_on(self, dimension: Dimension, values: Mapping[str, JsonValue]) -> bool:
        if dimension.when is None:
            return True
        path = dimension.when.field
        if path in self.dimensions and path not in values:
            return False
        return values.get(path, field(self._base, path)) in dimension.when.is_in


def _sorted(dimensions: Mapping[str, Dimension]) -> dict[str, Dimension]:
    left = dict(dimensions)
    ordered: dict[str, Dimension] = {}
    while left:
        free = [path for path, each in left.items() if each.when is None or each.when.field not in left]
        if not free:
            raise ValueError(
                f"the conditions of {', '.join(sorted(left))} depend on each other in a cycle; remove one of them"
            )
        for path in free:
            ordered[path] = left.pop(path)
    return ordered


def _contains(dimension: Dimension, value: JsonValue) -> bool:
    if isinstance(dimension, Choice):
        return value in dimension.values
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return dimension.low <= value <= dimension.high and not (isinstance(dimension, Integers) and value != int(value))


def _near(dimension: Dimension, value: JsonValue, factor: float, *, step: int) -> JsonValue:
    if isinstance(dimension, Choice):
        index = dimension.values.index(value) + step
        return dimension.values[min(max(index, 0), len(dimension.values) - 1)]
    assert isinstance(value, int | float)
    if isinstance(dimension, Integers):
        moved = round(value * factor)
        return min(max(moved if moved != value else int(value) + step, dimension.low), dimension.high)
    return min(max(value * factor, dimension.low), dimension.high)
