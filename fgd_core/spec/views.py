"""What the API answers; shared by the server and its Python client."""

from datetime import datetime
from typing import Any

from pydantic import Field

from fgd_core.spec import notebook
from fgd_core.spec.base import Command, Fact
from fgd_core.spec.events import EndCause, JobState, StoredEvent
from fgd_core.spec.jobs import JobSpec, Priority
from fgd_core.spec.report import CurvePoint
from fgd_core.spec.results import ErrorReport, RunResult


class ProgressView(Fact):
    """Where a job stands now, folded from its newest events."""

    epoch: int | None = None
    epochs: int | None = None
    step: int | None = None
    steps: int | None = None
    images_per_s: float | None = None
    eta_s: float | None = None
    values: dict[str, float] = {}
    ap: float | None = None
    best_ap: float | None = None


class AttemptView(Fact):
    attempt_id: str
    number: int
    submission_id: str
    dashboard_url: str | None
    """None once Ray has forgotten it."""
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    cause: EndCause | None
    """How it ended."""
    error: ErrorReport | None
    released_at: datetime | None
    """When the cluster was seen to hold nothing of it any more."""
    spec_changes: dict[str, Any]
    """Fields of the spec, by path, that it ran with other values of."""


class ArtifactView(Fact):
    name: str
    media_type: str
    size_bytes: int
    sha256: str
    uri: str
    url: str
    """Where to download it, relative to the server."""


class JobSummary(Fact):
    """A row of GET /v1/jobs."""

    job_id: str
    name: str
    kind: str
    project: str
    priority: int
    """As it is now; the spec keeps the one that was asked for."""
    preemptible: bool
    submitted_by: str
    state: JobState
    reason_code: str | None
    """Of the newest move, for programs: `leased`, `run_lost`, `preempted`."""
    reason: str | None
    """Why it is in this state, where that is not plain: what it waits for, why it failed."""
    progress: ProgressView
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    ran_s: float | None = None
    """In attempts that have ended: waits and pauses are left out. None where attempts were not looked at."""
    running_since: datetime | None = None
    """Of the attempt that runs; its time comes on top."""

    def _repr_html_(self) -> str:
        at = self.progress
        return notebook.facts(
            [
                ("job", f"{self.name} ({self.kind})"),
                ("id", self.job_id),
                ("state", self.state),
                ("why", self.reason),
                ("project", self.project),
                ("epoch", f"{at.epoch}/{at.epochs}" if at.epoch is not None else None),
                ("best AP", notebook.number(at.best_ap) if at.best_ap is not None else None),
            ]
        )


class JobView(JobSummary):
    """GET /v1/jobs/{job_id}"""

    spec: JobSpec | dict[str, Any] = Field(union_mode="left_to_right")
    """As plain JSON where it was stored by an older version and is no longer valid."""
    waits_for: list[str]
    """Job ids."""
    failures: int
    """Spent of `spec.retry.failures`."""
    losses: int
    """Spent of `spec.retry.losses`."""
    version: int
    """Grows with each move and each change by a user; the ETag."""
    attempts: list[AttemptView]
    artifacts: list[ArtifactView]
    error: ErrorReport | None
    result: RunResult | None
    dashboard_url: str | None
    """Of the newest attempt, on Ray's dashboard by way of this server; to be opened in a browser. None once Ray has
    forgotten it."""
    last_sequence: int


class JobPage(Fact):
    items: list[JobSummary]
    next_cursor: str | None


class JobPatch(Command):
    """PATCH /v1/jobs/{job_id}; what is left out stays as it is."""

    priority: Priority | None = None
    preemptible: bool | None = None


class QueuedJob(Fact):
    """A row of GET /v1/queue."""

    position: int
    """From 1, in the order in which jobs are looked at."""
    job_id: str
    name: str
    project: str
    priority: int
    state: JobState
    cpus: int
    gpus: int
    pieces: int
    """So many times CPUs and GPUs at most: the trials that a sweep runs at once."""
    code: str
    """Why it waits: `starts_now`, `busy`, `too_large`, `quota`, `backoff`, `dependencies`, `cluster_away`, `behind`."""
    message: str
    """The same in words."""
    not_before: datetime | None
    """It cannot start earlier, as far as the runs under way tell; None where they do not, or where it never can."""
    created_at: datetime


class NodeView(Fact):
    node_id: str
    cpus_total: float
    cpus_free: float
    gpus_total: float
    gpus_free: float


class QueueView(Fact):
    """GET /v1/queue"""

    items: list[QueuedJob]
    num_waiting: int
    """All of them; `items` may have been cut."""
    nodes: list[NodeView] | None
    """None where the cluster could not be asked."""

    def _repr_html_(self) -> str:
        headings = ("", "id", "name", "project", "priority", "CPUs", "GPUs", "why")
        return notebook.table(
            headings,
            (
                (job.position, job.job_id, job.name, job.project, job.priority, job.cpus, job.gpus, job.message)
                for job in self.items
            ),
        )


class EventPage(Fact):
    """GET /v1/jobs/{job_id}/events with `Accept: application/json`. Go on with `?after=` the last item's sequence."""

    items: list[StoredEvent]
    last_sequence: int
    """Of the job's newest event; there is more to read while the last item's is below it."""


class AllEventsPage(Fact):
    """GET /v1/events with `Accept: application/json`. Go on with `?after=` the cursor, also where there were none."""

    items: list[StoredEvent]
    next_cursor: str


class LogPiece(Fact):
    """A message `log` of GET /v1/jobs/{job_id}/logs?follow=true as a stream of events."""

    attempt: int
    offset: int
    """In bytes of UTF-8, of the text's beginning in the log of its attempt."""
    text: str


class LogNote(Fact):
    """A message `note`: what is worth knowing, and was not printed by the run."""

    text: str


class MetricSeries(Fact):
    name: str
    trial: str
    """Empty outside sweeps."""
    points: list[CurvePoint]
    """By step; thinned, with the lowest and the highest of each bucket kept."""


class MetricPage(Fact):
    """GET /v1/jobs/{job_id}/metrics"""

    items: list[MetricSeries]


class ProblemReason(Fact):
    loc: str
    """The field, as a path: `training.epochs`."""
    code: str
    message: str


class Problem(Fact):
    """RFC 9457 problem details: application/problem+json."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    reasons: list[ProblemReason] = []
    details: dict[str, Any] = {}


class Ready(Fact):
    """GET /readyz. Degraded is not dead: without Ray, jobs are accepted and wait; without its storage, all works but
    what reads or writes files."""

    ready: bool
    database: str
    schema_revision: str | None
    storage: str
    ray: str
    version: str
