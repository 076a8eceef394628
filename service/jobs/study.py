"""The trials of a sweep: a fold over its events. Nothing is computed anew, and each trial counts once."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, TypeAlias

from pydantic import ValidationError

from fgd_core.spec.events import StoredEvent
from fgd_core.spec.results import ErrorReport, RunResult
from fgd_core.spec.sweep_report import TrialPoint, TrialSegment, TrialState, TrialView
from fgd_core.spec.trials import STUDY_EVENT, StudyEvent, TrialEnded, TrialReported, TrialStarted

KINDS = ("trial_started", "trial_reported", "trial_ended")
"""The kinds of event that trials are made of; a reader of the store may leave out the rest."""

Direction: TypeAlias = Literal["maximize", "minimize"]


def fold(events: Iterable[StoredEvent], directions: Sequence[Direction], *, is_over: bool) -> list[TrialView]:
    """The trials, by number.

    The driver may have been killed between any two events, and may have told some again after that: of two words about
    one epoch of a trial the later counts.

    Args:
        events: the sweep's, of `KINDS` at least, oldest first. One that cannot be read, or that is about a trial of
            which no start was told, is passed over.
        directions: of the objectives, at least one.
        is_over: the sweep is; a trial that still runs is lost then.
    """
    trials: dict[int, _Trial] = {}
    for stored in events:
        told = _read(stored)
        match told:
            case TrialStarted():
                trials.setdefault(told.trial, _Trial(first=told)).start(told, stored.at, stored.attempt)
            case TrialReported() if told.trial in trials:
                trials[told.trial].report(told, stored.at, len(directions))
            case TrialEnded() if told.trial in trials:
                trials[told.trial].end(told, stored.at)
    return [trials[number].view(directions, is_over=is_over) for number in sorted(trials)]


def better(value: float, other: float, direction: Direction) -> bool:
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
    """Counted so far; None while it rests."""
    attempt: int | None = None

    def start(self, told: TrialStarted, at: datetime, attempt: int | None) -> None:
        self.attempt = attempt
        before = self.segments.get(told.segment)
        self.segments[told.segment] = TrialSegment(
            segment=told.segment,
            values=told.values,
            goes_on_from=told.goes_on_from if before is None else before.goes_on_from,
            # A resumed segment begins where its checkpoint is; what it is about began where it first did.
            from_epoch=told.from_epoch if before is None else before.from_epoch,
            epoch=told.from_epoch if before is None else before.epoch,
        )
        self.ended = None
        self.epoch = max(told.from_epoch, self.epoch) if told.goes_on_from is None else told.from_epoch
        self.busy_until = at

    def report(self, told: TrialReported, at: datetime, num_objectives: int) -> None:
        known = self.points.get(told.epoch)
        self.points[told.epoch] = TrialPoint(
            epoch=told.epoch,
            segment=told.segment,
            objectives=_as_many(told.objectives, num_objectives),
            train_s=told.train_s if math.isfinite(told.train_s) else 0.0,
            rung=told.rung,
            verdict=told.verdict,
            at=at if known is None else known.at,
        )
        self._reach(told.segment, told.epoch)
        self._be_busy(at)

    def end(self, told: TrialEnded, at: datetime) -> None:
        self.ended = told
        self.result = told.result or self.result
        self.checkpoint = told.checkpoint or self.checkpoint
        self._reach(told.segment, told.epoch)
        self._be_busy(at)
        self.busy_until = None

    def view(self, directions: Sequence[Direction], *, is_over: bool) -> TrialView:
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
    """The evaluation with the best first objective, the earlier of two alike; and the objectives there.

    Some objectives are known at the end only: those are filled in.
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
    """So many numbers: what is missing, or no number, is None."""
    numbers = [value if value is not None and math.isfinite(value) else None for value in objectives[:count]]
    return numbers + [None] * (count - len(numbers))


def _read(stored: StoredEvent) -> StudyEvent | None:
    if stored.kind not in KINDS:
        return None
    try:
        return STUDY_EVENT.validate_python(stored.data)
    except ValidationError:
        return None
