"""Takes the points of curves out of the events of a run."""

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, pairwise
from typing import NamedTuple, TypeAlias, TypeGuard

from fgd_core.spec.events import EpochFinished, Evaluated, MetricsLogged, Progress, RunEvent
from fgd_core.spec.results import PART_NAMES

MAX_STEP = 2**53
MAX_NAME_LENGTH = 200


class Column(NamedTuple):
    """New points of one curve, as two columns of the same length; no step occurs twice."""

    steps: Sequence[int]
    values: Sequence[float]


Points: TypeAlias = dict[str, Column]
"""The new points of each curve, by the curve's name."""


def points_of(events: Iterable[RunEvent]) -> Points:
    """Return the points that events hold; where two events have a value for the same step, the later value wins.

    Each curve has one writer: the terms of the loss come from `MetricsLogged`, so the means in `Progress` give none.
    Values that a curve cannot show (None, infinite, a step out of range) are left out.
    """
    found: dict[str, list[Column]] = {}
    for event in events:
        for name, steps, values in _columns(event):
            column = _showable(steps, values)
            if column.steps and 0 < len(name) <= MAX_NAME_LENGTH:
                found.setdefault(name, []).append(column)
    return {name: _joined(columns) for name, columns in found.items()}


def _showable(steps: Sequence[int], values: Sequence[float | None]) -> Column:
    is_usual = len(steps) == len(values) and all(0 <= step <= MAX_STEP for step in steps)
    if is_usual and _are_finite(values):
        return Column(steps, values)
    shown = {
        step: value
        for step, value in zip(steps, values, strict=False)
        if value is not None and math.isfinite(value) and 0 <= step <= MAX_STEP
    }
    return Column(list(shown), list(shown.values()))


def _are_finite(values: Sequence[float | None]) -> TypeGuard[Sequence[float]]:
    return all(value is not None and math.isfinite(value) for value in values)


def _joined(columns: Sequence[Column]) -> Column:
    if len(columns) == 1:
        (column,) = columns
    else:
        steps, values = ([*chain.from_iterable(parts)] for parts in zip(*columns, strict=True))
        column = Column(steps, values)
    if all(step < after for step, after in pairwise(column.steps)):
        return column
    # Some steps occur twice; in a dict the later value replaces the earlier one.
    by_step = dict(zip(*column, strict=True))
    return Column(list(by_step), list(by_step.values()))


def _columns(event: RunEvent) -> Iterator[tuple[str, Sequence[int], Sequence[float | None]]]:
    match event:
        case MetricsLogged():
            for name, values in event.values.items():
                yield name, event.steps, values
        case Progress():
            yield "learning_rate", [event.step], [event.learning_rate]
            yield "images_per_s", [event.step], [event.images_per_s]
            for name, value in (("data_wait", event.data_wait), ("gpu_memory_bytes", event.gpu_memory_bytes)):
                if value is not None:
                    yield name, [event.step], [value]
        case EpochFinished():
            for name, value in event.values.items():
                yield f"epoch/{name}", [event.step], [value]
        case Evaluated():
            scores = {"val/ap": event.scores.ap, "val/ap50": event.scores.ap50}
            for part, of_part in event.scores.parts().items():
                name = f"val/{PART_NAMES[part]}_ap"
                scores |= {name: of_part.ap, f"{name}50": of_part.ap50}
            for name, score in scores.items():
                if score is not None:
                    yield name, [event.step or 0], [score]
