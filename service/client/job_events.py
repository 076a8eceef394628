"""The part of `FgdClient` that reads and follows events and logs, and waits for jobs."""

import time
from collections.abc import Iterator, Sequence

from fgd_core.spec.chains import TeachersOrdered
from fgd_core.spec.costs import JobCost
from fgd_core.spec.event_state import read_event
from fgd_core.spec.events import StoredEvent
from fgd_core.spec.plans import DistillationPlanned, read_plan
from fgd_core.spec.prediction import PredictionView
from fgd_core.spec.record import JobRecord
from fgd_core.spec.record_state import RECORD_KINDS, fold_record
from fgd_core.spec.views import AllEventsPage, EventPage, JobView, LogNote, LogPiece
from service.client import streaming
from service.client.errors import FailedJobError
from service.client.job_requests import JobRequests
from service.client.transport import Query, job_path, read_message
from service.jobs.lifecycle import ON_CLUSTER, OVER

_CONTROL_EVENTS = ("cancel_requested", "pause_requested", "resume_requested", "retry_requested", "priority_changed")
_JSON = {"Accept": "application/json"}
_MOST_EVENTS = 1000


class JobEvents(JobRequests):
    """Reads and follows events and logs, and waits for jobs."""

    def stored_events(self, job_id: str) -> list[StoredEvent]:
        """Return every event of a job so far."""
        events: list[StoredEvent] = []
        while True:
            query = {"after": events[-1].sequence if events else 0, "limit": _MOST_EVENTS}
            page = self._read(EventPage, "GET", f"{job_path(job_id)}/events", params=query, headers=_JSON)
            events += page.items
            if not page.items or page.items[-1].sequence >= page.last_sequence:
                return events

    def events(self, job_id: str, *, after: int = 0, on_drop: streaming.OnDrop | None = None) -> Iterator[StoredEvent]:
        """Yield the events of a job as they are stored, each once and in order, until the job is over.

        After the first connection, the client reconnects for up to an hour when a connection drops or the server
        restarts.

        Args:
            after: begin with the event after this sequence number.
            on_drop: receives the pause in seconds before each new connection.
        Raises:
            UnreachableError: the first connection failed, or the server has not answered for an hour.
        """

        def is_over(_: str | None) -> bool:
            # The server ends a stream when the job is over, but also when the stream reaches its maximum lifetime.
            job = self.job(job_id)
            return job.state in OVER and job.last_sequence <= after

        path = f"{job_path(job_id)}/events"
        for message in streaming.follow(self._http, path, after=str(after), is_over=is_over, on_drop=on_drop):
            event = read_message(StoredEvent, message.data)
            if event.sequence > after:
                after = event.sequence
                yield event

    def all_events(
        self,
        *,
        after: str,
        job_ids: Sequence[str] = (),
        project: str | None = None,
        kinds: Sequence[str] = (),
        on_drop: streaming.OnDrop | None = None,
    ) -> Iterator[StoredEvent]:
        """Yield the events of all jobs after a cursor, each once, those of one job in order.

        The stream ends only with an error; the client reconnects as for `events`.

        Args:
            after: a cursor from `events_cursor`.
            on_drop: receives the pause in seconds before each new connection.
        """
        query = {"job_id": list(job_ids), "kind": list(kinds), "project": project}
        messages = streaming.follow(
            self._http, "/v1/events", params=query, after=after, is_over=lambda _: False, on_drop=on_drop
        )
        for message in messages:
            yield read_message(StoredEvent, message.data)

    def events_cursor(self) -> str:
        """Return the cursor of this moment, from which `all_events` can begin."""
        return self._read(AllEventsPage, "GET", "/v1/events", params={"limit": 1}, headers=_JSON).next_cursor

    def requests(self, job_id: str) -> list[StoredEvent]:
        """Return the requests of users to pause, resume, cancel or retry a job, or to change its priority."""
        return self._events_of_kinds(job_id, _CONTROL_EVENTS)

    def plan(self, job_id: str) -> DistillationPlanned | None:
        """Return what a distillation takes from its teacher and what it leaves out; None before the run reports it."""
        events = self._events_of_kinds(job_id, ["distillation_planned"])
        return read_plan(events[-1].data) if events else None

    def teacher_order(self, job_id: str) -> Sequence[int] | None:
        """Return the positions of a chain's teachers in the order of training; None before the run reports it."""
        events = self._events_of_kinds(job_id, ["teachers_ordered"])
        found = read_event(events[-1]) if events else None
        return found.order if isinstance(found, TeachersOrdered) else None

    def record(self, job_id: str) -> JobRecord:
        """Return what the figures of a job depend on besides its spec: code, packages, machine, data, checkpoints."""
        return fold_record(self._events_of_kinds(job_id, RECORD_KINDS))

    def prediction(self, job_id: str) -> PredictionView:
        """Return what a job of the kind train or distill is predicted to reach."""
        return self._read(PredictionView, "GET", f"{job_path(job_id)}/prediction")

    def cost(self, job_id: str) -> JobCost:
        """Return what a job of the kind train, distill, chain, study or sweep should cost, and what it has cost."""
        return self._read(JobCost, "GET", f"{job_path(job_id)}/cost")

    def log(self, job_id: str, attempt: int | None = None) -> str:
        """Return what an attempt has printed so far; default: the newest attempt."""
        return self._send("GET", f"{job_path(job_id)}/logs", params={"attempt": attempt}).text

    def follow_log(
        self, job_id: str, attempt: int | None = None, *, on_drop: streaming.OnDrop | None = None
    ) -> Iterator[LogPiece | LogNote]:
        """Yield the output of a job while it runs, every line once.

        Args:
            attempt: the only attempt to follow; default: the newest attempt and all later ones.
            on_drop: receives the pause in seconds before each new connection.
        """
        query = {"follow": "true", "attempt": attempt}
        path = f"{job_path(job_id)}/logs"
        for message in streaming.follow(self._http, path, params=query, is_over=lambda _: False, on_drop=on_drop):
            match message.event:
                case "log":
                    yield read_message(LogPiece, message.data)
                case "note":
                    yield read_message(LogNote, message.data)
                case "end":
                    return

    def standstill(self, job_id: str, *, poll_s: float = 0.3) -> JobView:
        """Wait until no part of a job runs on the cluster, and return the job: paused, waiting or over."""
        while True:
            job = self.job(job_id)
            if job.state not in ON_CLUSTER:
                return job
            time.sleep(poll_s)

    def wait(self, job_id: str) -> JobView:
        """Wait until a job is over, and return it.

        Raises:
            FailedJobError: the job failed or was cancelled.
        """
        newest = self.job(job_id).last_sequence
        for _ in self.events(job_id, after=newest):
            pass
        job = self.job(job_id)
        if job.state != "succeeded":
            why = job.error.message if job.error else (job.reason or "no reason given")
            raise FailedJobError(f"job {job.name} ({job_id}) {job.state}: {why}", job_id=job_id, state=job.state)
        return job

    def _events_of_kinds(self, job_id: str, kinds: Sequence[str]) -> list[StoredEvent]:
        query: Query = {"job_id": job_id, "kind": list(kinds), "after": "0", "limit": _MOST_EVENTS}
        found: list[StoredEvent] = []
        while True:
            page = self._read(AllEventsPage, "GET", "/v1/events", params=query, headers=_JSON)
            found += page.items
            if not page.has_more:
                return found
            query = {**query, "after": page.next_cursor}
