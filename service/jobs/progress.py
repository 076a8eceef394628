"""Where a job stands and how its curves run, folded from the events of its runs."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from fgd_core.spec.events import EpochFinished, Evaluated, Progress, RunEvent
from fgd_core.spec.views import ProgressView

MAX_STEP = 2**53


@dataclass(frozen=True)
class Point:
    name: str
    step: int
    value: float


def fold(view: ProgressView, event: RunEvent) -> ProgressView:
    """The view after `event`."""
    match event:
        case Progress() | EpochFinished():
            return view.model_copy(
                update={
                    "epoch": event.epoch,
                    "epochs": event.epochs,
                    "step": event.step,
                    "steps": event.steps,
                    "images_per_s": _finite(event.images_per_s),
                    "eta_s": _finite(event.eta_s),
                    "values": {name: value for name, value in event.values.items() if math.isfinite(value)},
                }
            )
        case Evaluated():
            ap = _finite(event.scores.ap)
            seen = [score for score in (ap, view.best_ap) if score is not None]
            return view.model_copy(update={"ap": ap, "best_ap": max(seen, default=None)})
        case _:
            return view


def points(event: RunEvent) -> list[Point]:
    """The metric points that an event holds; values that no curve can show are left out."""
    return [
        point
        for point in _points(event)
        if math.isfinite(point.value) and 0 <= point.step <= MAX_STEP and 0 < len(point.name) <= 200
    ]


def _points(event: RunEvent) -> Iterator[Point]:
    match event:
        case Progress():
            for name, value in event.values.items():
                yield Point(name, event.step, value)
            yield Point("learning_rate", event.step, event.learning_rate)
            yield Point("images_per_s", event.step, event.images_per_s)
        case EpochFinished():
            for name, value in event.values.items():
                yield Point(f"epoch/{name}", event.step, value)
        case Evaluated():
            for name, score in (("val/ap", event.scores.ap), ("val/ap50", event.scores.ap50)):
                if score is not None:
                    yield Point(name, event.step or 0, score)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
