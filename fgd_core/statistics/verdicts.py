"""Judges measured differences: gained, lost, noise, or too little data."""

from collections.abc import Sequence

from fgd_core.spec.comparison import FALSE_DISCOVERY_RATE, MIN_BOXES, Change, Finding
from fgd_core.statistics.false_discovery import adjusted
from fgd_core.statistics.seeds import Measured


def alone(measured: Measured | None, *, num_boxes: int) -> Change | None:
    """Judge one difference alone."""
    if measured is None:
        return None
    enough = num_boxes >= MIN_BOXES and measured.p is not None
    return _difference(measured, None, measured.p if enough else None)


def among_many(measured: Sequence[Measured | None], *, num_boxes: Sequence[int]) -> list[Change | None]:
    """Judge all classes at once, with a bound on the expected share of false alarms among the changed ones.

    The bound is Benjamini and Hochberg's. Classes with fewer than `MIN_BOXES` boxes are not tested, and do not affect
    the others.
    """
    tested = {
        place: one.p
        for place, (one, boxes) in enumerate(zip(measured, num_boxes, strict=True))
        if one is not None and one.p is not None and boxes >= MIN_BOXES
    }
    p_values = dict(zip(tested, adjusted([*tested.values()]), strict=True))
    return [
        None if one is None else _difference(one, p_values.get(place), p_values.get(place))
        for place, one in enumerate(measured)
    ]


def _difference(measured: Measured, adjusted: float | None, deciding: float | None) -> Change:
    if deciding is None:
        return Change(value=measured.value, low=None, high=None, p=None, p_adjusted=None, finding="too_little_data")
    finding: Finding = "noise"
    if deciding <= FALSE_DISCOVERY_RATE:
        finding = "gained" if measured.value > 0 else "lost"
    return Change(**measured._asdict(), p_adjusted=adjusted, finding=finding)
