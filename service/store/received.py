"""Parses the events that a run reports, as far as this version knows them."""

from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import ValidationError

from fgd_core.errors import SpecError
from fgd_core.spec.attempts import EventBatch, ReportedEvent
from fgd_core.spec.events import RUN_EVENT, MetricsLogged, RunEvent
from fgd_core.spec.trials import TrialEvent
from service.jobs.points import Points, points_of
from service.store.tables.json_values import JsonObject, storable

_METRICS = MetricsLogged.model_fields["kind"].default
_OF_TRIAL = TrialEvent.model_fields["kind"].default
_MAX_SEQUENCE = 2**53
_MAX_TRIAL = 10**9


@dataclass(frozen=True)
class ReceivedEvent:
    """Holds an event as it is stored and, if it could be parsed, as it is understood."""

    at: datetime
    data: JsonObject
    """The event as it is stored."""
    event: RunEvent | None
    """None if this version cannot parse the event."""
    trial: str = ""
    """Number of the trial whose curves the event extends; empty for the curves of the job itself."""
    curve_event: RunEvent | None = None
    """The event with points of curves: `event` itself, or the event of a trial that `event` wraps."""

    @property
    def is_stored_as_event(self) -> bool:
        """Whether the event gets a sequence. Points of curves do not: they are stored as curves only."""
        return not isinstance(self.curve_event, MetricsLogged)


def parse(reported: ReportedEvent, now: datetime) -> ReceivedEvent:
    """Parse one event.

    Args:
        now: replaces a time that is out of range.
    """
    at = time_of(reported, now)
    try:
        if reported.event.get("kind") == _METRICS:
            logged = _metrics(reported.event)
            return ReceivedEvent(at, {}, logged, curve_event=logged)
        if reported.event.get("kind") == _OF_TRIAL:
            return _parse_trial_event(reported.event, at)
        data = storable(reported.event)
        event = RUN_EVENT.validate_python(data)
        return ReceivedEvent(at, data, event, curve_event=event)
    except ValidationError:
        return ReceivedEvent(at, storable(reported.event), None)


def time_of(reported: ReportedEvent, now: datetime) -> datetime:
    """Return the time of an event in UTC; `now` if it is out of range."""
    try:
        return reported.at.replace(tzinfo=reported.at.tzinfo or UTC).astimezone(UTC)
    except OverflowError:
        return now


def only_points(batch: EventBatch) -> Points | None:
    """Return the points of a batch that contains nothing else, without gaps; None for any other batch."""
    if not batch.events or any(reported.event.get("kind") != _METRICS for reported in batch.events):
        return None
    if not is_gapless(batch):
        return None
    try:
        return points_of(_metrics(reported.event) for reported in batch.events)
    except ValidationError:
        return None


def is_gapless(batch: EventBatch) -> bool:
    """Return whether the sequences of a batch that is not empty follow each other."""
    sequences = [event.sequence for event in batch.events]
    # The range has the length of the batch: a range up to the client's last sequence could be of any size.
    return sequences[-1] <= _MAX_SEQUENCE and sequences == list(range(sequences[0], sequences[0] + len(sequences)))


def check_sequences(fresh: list[ReportedEvent], last: int, stream: str) -> None:
    """Raises SpecError if a sequence is missing between the last stored one and the new events."""
    for expected, event in enumerate(fresh, start=last + 1):
        if event.sequence != expected:
            raise SpecError(
                f"expected sequence {expected} in stream {stream!r}, received {event.sequence}; send from {expected}",
                stream=stream,
                expected=expected,
                # As text: the number may be larger than an integer that JSON readers accept.
                received=str(event.sequence),
            )


def _parse_trial_event(reported: JsonObject, at: datetime) -> ReceivedEvent:
    """Parse an event of a trial; an unknown event inside it is stored unchanged.

    Raises:
        ValidationError: it is not a `TrialEvent`.
    """
    event = TrialEvent.model_validate(reported)
    if not 0 <= event.trial <= _MAX_TRIAL:
        return ReceivedEvent(at, storable(reported), event)
    trial = str(event.trial)
    try:
        if event.event.get("kind") == _METRICS:
            return ReceivedEvent(at, {}, event, trial=trial, curve_event=_metrics(event.event))
        data = storable(reported)
        return ReceivedEvent(at, data, event, trial=trial, curve_event=RUN_EVENT.validate_python(data["event"]))
    except ValidationError:
        return ReceivedEvent(at, storable(reported), event, trial=trial)


def _metrics(reported: JsonObject) -> MetricsLogged:
    # Only the names are made storable: the values, of which there may be many thousands, are not stored as JSON.
    logged = MetricsLogged.model_validate(reported)
    return logged.model_copy(update={"values": {storable(name): values for name, values in logged.values.items()}})
