"""Where a job stands and how its curves run, folded from the events of its runs."""

import math
from collections.abc import Iterable, Iterator
from typing import TypeAlias

from fgd_core.spec.events import EpochFinished, Evaluated, MetricsLogged, Progress, RunEvent
from fgd_core.spec.trials import SweepProgressed
from fgd_core.spec.views import ProgressView

MAX_STEP = 2**53
MAX_NAME_LENGTH = 200

Points: TypeAlias = dict[str, dict[int, float]]
"""By the curve's name, the value at each step."""


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
        case SweepProgressed():
            # A sweep's steps are its trials.
            at = {"step": event.done, "steps": event.planned, "eta_s": _finite(event.eta_s)}
            return view.model_copy(update=at | {"best_ap": _finite(event.best)})
        case _:
            return view


def points(events: Iterable[RunEvent]) -> Points:
    """The metric points that events hold, the later word where two tell of one step.

    Values that no curve can show are left out.
    """
    found: Points = {}
    for event in events:
        for name, steps, values in _columns(event):
            by_step = {
                step: value
                for step, value in zip(steps, values, strict=False)
                if value is not None and math.isfinite(value) and 0 <= step <= MAX_STEP
            }
            if by_step and 0 < len(name) <= MAX_NAME_LENGTH:
                found.setdefault(name, {}).update(by_step)
    return found


def _columns(event: RunEvent) -> Iterator[tuple[str, list[int], list[float | None]]]:
    match event:
        case MetricsLogged():
            for name, values in event.values.items():
                yield name, event.steps, values
        case Progress():
            for name, value in event.values.items():
                yield name, [event.step], [value]
            yield "learning_rate", [event.step], [event.learning_rate]
            yield "images_per_s", [event.step], [event.images_per_s]
        case EpochFinished():
            for name, value in event.values.items():
                yield f"epoch/{name}", [event.step], [value]
        case Evaluated():
            scores = {"val/ap": event.scores.ap, "val/ap50": event.scores.ap50}
            if event.scores.masks is not None:
                scores |= {"val/mask_ap": event.scores.masks.ap, "val/mask_ap50": event.scores.masks.ap50}
            for name, score in scores.items():
                if score is not None:
                    yield name, [event.step or 0], [score]


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
