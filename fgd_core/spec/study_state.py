"""Folds the events of a sweep into the state of its study: one view of each trial."""

import math
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Literal, NamedTuple, TypeAlias

from pydantic import Field, TypeAdapter, ValidationError

from fgd_core.spec.base import Fact
from fgd_core.spec.events import StoredEvent
from fgd_core.spec.results import ErrorReport, RunResult
from fgd_core.spec.sweep_report import TrialPoint, TrialSegment, TrialState, TrialView
from fgd_core.spec.trials import TrialEnded, TrialStarted, Verdict

KINDS = ("trial_started", "trial_reported", "trial_ended")
"""The kinds of events that `fold_trials` reads; a reader of the store may leave out all others."""

Direction: TypeAlias = Literal["maximize", "minimize"]


def fold_trials(events: Iterable[StoredEvent], directions: Sequence[Direction], *, is_over: bool) -> list[TrialView]:
    """Return the trials, by number.

    The sweep's driver may have been killed between any two events and may have reported some of them again. Where two
    events are about the same epoch of a trial, the later one counts.

    Args:
        events: of the sweep, with all of `KINDS`, oldest first. Events that cannot be read, or that are about a trial
            without a start, are skipped.
        directions: of the objectives; at least one.
        is_over: whether the sweep has ended; trials that still run are then lost.
    """
    study = StudyFold(directions)
    study.add(events)
    return study.trials(is_over=is_over)


class StudyRow(NamedTuple):
    """A stored event of one of `KINDS`, not yet parsed."""

    sequence: int
    at: datetime
    attempt: int | None
    data: str
    """JSON."""


class _Reported(Fact):
    """The fields of a `TrialReported` that are folded. Its scores are most of it, and reading them most of the time."""

    kind: Literal["trial_reported"]
    trial: int
    segment: int = 0
    epoch: int
    objectives: list[float | None]
    train_s: float
    verdict: Verdict = "continue"
    rung: int | None = None


_Folded: TypeAlias = Annotated[TrialStarted | _Reported | TrialEnded, Field(discriminator="kind")]
_FOLDED: TypeAdapter[_Folded] = TypeAdapter(_Folded)


class StudyFold:
    """The trials of a sweep after some of its events; more events can be added later.

    Args:
        directions: of the objectives; at least one.
    """

    def __init__(self, directions: Sequence[Direction]) -> None:
        self._directions = directions
        self._trials: dict[int, _Trial] = {}

    def add(self, events: Iterable[StoredEvent]) -> None:
        """Continue with later events, as described at `fold_trials`."""
        for stored in events:
            if stored.kind in KINDS:
                with suppress(ValidationError):
                    self._add(_FOLDED.validate_python(stored.data), stored.at, stored.attempt)

    def add_rows(self, rows: Iterable[StudyRow]) -> None:
        """As `add`, several times as fast: nothing but the folded fields is ever made into objects."""
        for row in rows:
            with suppress(ValidationError):
                self._add(_FOLDED.validate_json(row.data), row.at, row.attempt)

    def _add(self, event: _Folded, at: datetime, attempt: int | None) -> None:
        match event:
            case TrialStarted():
                self._trials.setdefault(event.trial, _Trial(first=event)).start(event, at, attempt)
            case _Reported() if event.trial in self._trials:
                self._trials[event.trial].report(event, at, len(self._directions))
            case TrialEnded() if event.trial in self._trials:
                self._trials[event.trial].end(event, at)

    def trials(self, *, is_over: bool) -> list[TrialView]:
        """Return the trials, by number.

        Args:
            is_over: whether the sweep has ended; trials that still run are then lost.
        """
        return [self._trials[number].view(self._directions, is_over=is_over) for number in sorted(self._trials)]


def better(value: float, other: float, direction: Direction) -> bool:
    """Return whether `value` is strictly better than `other`."""
    return value > other if direction == "maximize" else value < other


@dataclass
class _Trial:
    first: TrialStarted
    segments: dict[int, TrialSegment] = field(default_factory=dict)
    points: dict[int, TrialPoint] = field(default_factory=dict)
    ended: TrialEnded | None = None
    epoch: int = 0
    result: RunResult | None = None
    checkpoint: str | None = None
    busy_s: float = 0.0
    busy_until: datetime | None = None
    """`busy_s` counts up to this moment; None while no segment runs."""
    attempt: int | None = None
    views: dict[bool, TrialView] = field(default_factory=dict)
    """The view by `is_over`, until the next event."""

    def start(self, event: TrialStarted, at: datetime, attempt: int | None) -> None:
        self.views.clear()
        self.attempt = attempt
        before = self.segments.get(event.segment)
        self.segments[event.segment] = TrialSegment(
            segment=event.segment,
            values=event.values,
            goes_on_from=event.goes_on_from if before is None else before.goes_on_from,
            # A resumed segment starts at its checkpoint; the view shows where the segment first started.
            from_epoch=event.from_epoch if before is None else before.from_epoch,
            epoch=event.from_epoch if before is None else before.epoch,
        )
        self.ended = None
        self.epoch = max(event.from_epoch, self.epoch) if event.goes_on_from is None else event.from_epoch
        self.busy_until = at

    def report(self, event: _Reported, at: datetime, num_objectives: int) -> None:
        self.views.clear()
        known = self.points.get(event.epoch)
        self.points[event.epoch] = TrialPoint(
            epoch=event.epoch,
            segment=event.segment,
            objectives=_as_many(event.objectives, num_objectives),
            train_s=event.train_s if math.isfinite(event.train_s) else 0.0,
            rung=event.rung,
            verdict=event.verdict,
            at=at if known is None else known.at,
        )
        self._reach(event.segment, event.epoch)
        self._be_busy(at)

    def end(self, event: TrialEnded, at: datetime) -> None:
        self.views.clear()
        self.ended = event
        self.result = event.result or self.result
        self.checkpoint = event.checkpoint or self.checkpoint
        self._reach(event.segment, event.epoch)
        self._be_busy(at)
        self.busy_until = None

    def view(self, directions: Sequence[Direction], *, is_over: bool) -> TrialView:
        if is_over not in self.views:
            self.views[is_over] = self._view(directions, is_over=is_over)
        return self.views[is_over]

    def _view(self, directions: Sequence[Direction], *, is_over: bool) -> TrialView:
        reports = [self.points[epoch] for epoch in sorted(self.points)]
        best, objectives = _best(reports, self.ended, directions)
        newest = self.segments[max(self.segments)]
        segment = self.segments.get(best.segment, newest) if best is not None else newest
        return TrialView(
            trial=self.first.trial,
            origin=self.first.origin,
            values=segment.values,
            seed=self.first.seed,
            repeats=self.first.repeats,
            segments=[self.segments[number] for number in sorted(self.segments)],
            state=self._state(is_over=is_over),
            by_user=self.ended is not None and self.ended.by_user,
            epoch=self.epoch,
            epochs=self.first.epochs,
            epochs_trained=sum(part.epoch - part.from_epoch for part in self.segments.values()),
            reports=reports,
            objectives=objectives,
            best_epoch=best.epoch if best is not None else None,
            train_s=max((point.train_s for point in reports), default=0.0),
            busy_s=self.busy_s,
            error=self._error(),
            result=self.result,
            checkpoint=self.checkpoint,
            attempt=self.attempt,
            dashboard_url=None,
        )

    def _state(self, *, is_over: bool) -> TrialState:
        if self.ended is not None:
            return self.ended.cause
        return "lost" if is_over else "running"

    def _error(self) -> ErrorReport | None:
        return self.ended.error if self.ended is not None else None

    def _reach(self, number: int, epoch: int) -> None:
        self.epoch = max(self.epoch, epoch)
        segment = self.segments.get(number)
        if segment is not None and epoch > segment.epoch:
            self.segments[number] = segment.model_copy(update={"epoch": epoch})

    def _be_busy(self, at: datetime) -> None:
        if self.busy_until is not None:
            self.busy_s += max(0.0, (at - self.busy_until).total_seconds())
            self.busy_until = at


def _best(
    reports: Sequence[TrialPoint], ended: TrialEnded | None, directions: Sequence[Direction]
) -> tuple[TrialPoint | None, list[float | None]]:
    """Return the evaluation with the best first objective (the earliest, if several are equal) and its objectives.

    Objectives that are measured only at the end of the trial are filled in.
    """
    at_end = _as_many((ended.objectives if ended is not None else None) or [], len(directions))
    best: TrialPoint | None = None
    best_value: float | None = None
    for point in reports:
        value = point.objectives[0]
        if value is not None and (best_value is None or better(value, best_value, directions[0])):
            best, best_value = point, value
    found = best.objectives if best is not None else at_end
    return best, [value if value is not None else last for value, last in zip(found, at_end, strict=True)]


def _as_many(objectives: Sequence[float | None], count: int) -> list[float | None]:
    """Return exactly `count` values; missing and non-finite ones are None."""
    numbers = [value if value is not None and math.isfinite(value) else None for value in objectives[:count]]
    return numbers + [None] * (count - len(numbers))
