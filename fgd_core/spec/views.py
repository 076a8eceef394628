"""Answers of the API; shared by the server and its Python client."""

from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, StringConstraints

from fgd_core.spec import notebook
from fgd_core.spec.base import Command, Fact
from fgd_core.spec.events import EndCause, GpuMemory, JobState, StoredEvent
from fgd_core.spec.jobs import JobSpec
from fgd_core.spec.kinds.base import Priority
from fgd_core.spec.report import CurvePoint
from fgd_core.spec.results import ErrorReport, RunResult
from fgd_core.spec.study_runs import PartOfStudy, StudyRunView

JobSort: TypeAlias = Literal[
    "created",
    "-created",
    "name",
    "-name",
    "state",
    "-state",
    "priority",
    "-priority",
    "project",
    "-project",
    "best_ap",
    "-best_ap",
]
"""The order of a list of jobs; `-` puts the largest first."""
SeedGroup: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]
"""What the runs of one configuration with different seeds have in common."""


class ProgressView(Fact):
    """The progress of a job, folded from its events. For a sweep, `step` and `steps` count trials."""

    epoch: int | None = None
    epochs: int | None = None
    step: int | None = None
    steps: int | None = None
    images_per_s: float | None = None
    eta_s: float | None = None
    values: dict[str, float] = {}
    ap: float | None = None
    best_ap: float | None = None
    gpu_memory_of_workers: list[GpuMemory] = []
    """Of each worker, by rank; empty without GPUs."""
    stage: str | None = None
    """The stage of a chain that runs: `stage 2/3`, or `control`. Epochs and steps count over all stages, AP and best AP
    are those of the newest stage; the control changes neither."""


class AttemptView(Fact):
    """One execution of a job on the cluster."""

    attempt_id: str
    number: int
    submission_id: str
    dashboard_url: str | None
    """The attempt on Ray's dashboard; None after Ray has deleted its record."""
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    cause: EndCause | None
    """How it ended; None while it runs."""
    error: ErrorReport | None
    released_at: datetime | None
    """When the dispatcher saw that the cluster had released all its resources."""
    spec_changes: dict[str, Any]
    """By field path: values with which this attempt ran in place of the spec's values."""


class ArtifactView(Fact):
    """A file that a job saved."""

    name: str
    media_type: str
    size_bytes: int
    sha256: str
    uri: str
    url: str
    """Address for the download, relative to the server's URL."""


class JobSummary(Fact):
    """A row of GET /v1/jobs."""

    job_id: str
    name: str
    kind: str
    project: str
    priority: int
    """The present priority; the spec keeps the submitted one."""
    preemptible: bool
    submitted_by: str
    state: JobState
    reason_code: str | None
    """Reason of the newest change of state, for programs: `leased`, `run_lost`, `preempted`."""
    reason: str | None
    """Why the job is in this state, in words: what it waits for, or why it failed. None if that is obvious."""
    progress: ProgressView
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    seed: int | None = None
    seed_group: SeedGroup | None = None
    """Jobs with the same group differ only in the seed, in the name and in how they are scheduled. None if an older
    version of the server stored the job."""
    ran_s: float | None = None
    """Seconds that ended attempts ran, without waits and pauses; None if the answer does not include attempts."""
    running_since: datetime | None = None
    """Start of the running attempt; its time is not in `ran_s`."""

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
    """The spec; as plain JSON if an older version stored it and it is no longer valid."""
    parent_id: str | None = None
    """Id of the job that the spec was made from, with "submit like this one", or that a sweep forks."""
    waits_for: list[str]
    """Ids of the jobs that this job waits for."""
    study_runs: list[StudyRunView] = []
    """Of a study: its runs, seed by seed."""
    part_of: PartOfStudy | None = None
    """The study that submitted this job."""
    failures: int
    """How many of `spec.retry.failures` are used up."""
    losses: int
    """How many of `spec.retry.losses` are used up."""
    version: int
    """Increases with each change of state and each change by a user; it is the ETag."""
    attempts: list[AttemptView]
    artifacts: list[ArtifactView]
    error: ErrorReport | None
    result: RunResult | None
    dashboard_url: str | None
    """The newest attempt on Ray's dashboard, through this server; open it in a browser. None after Ray has deleted its
    record."""
    last_sequence: int
    """Sequence of the job's newest event."""


class JobPage(Fact):
    """GET /v1/jobs"""

    items: list[JobSummary]
    next_cursor: str | None


class JobPatch(Command):
    """PATCH /v1/jobs/{job_id}; fields that are left out keep their values."""

    priority: Priority | None = None
    preemptible: bool | None = None


class QueuedJob(Fact):
    """A row of GET /v1/queue."""

    position: int
    """From 1, in the order in which the dispatcher considers jobs."""
    job_id: str
    name: str
    project: str
    priority: int
    state: JobState
    cpus: int
    gpus: int
    pieces: int
    """The job needs at most this many times its workers: the number of trials that a sweep runs at once."""
    workers: int
    """The processes that train the job, or one of the trials, together. Each needs `cpus` and `gpus` on one node."""
    code: str
    """Why it waits: `starts_now`, `busy`, `growing`, `too_large`, `quota`, `backoff`, `dependencies`, `cluster_away`,
    `behind`."""
    message: str
    """Why it waits, in words."""
    not_before: datetime | None
    """The job will not start before this time, estimated from the running jobs. None if that is unknown, or if the job
    can never start."""
    created_at: datetime


class NodeView(Fact):
    """Resources of a node of the cluster."""

    node_id: str
    cpus_total: float
    cpus_free: float
    gpus_total: float
    gpus_free: float


class HolderView(Fact):
    """A job that holds a part of the cluster, or will hold it in a moment."""

    job_id: str
    name: str
    project: str
    kind: str
    state: JobState
    priority: int
    submitted_by: str
    preemptible: bool
    """Whether a waiting job of higher priority may pause it."""
    cpus: int
    """Of all its workers together."""
    gpus: int
    workers: int
    started_at: datetime | None
    eta_s: float | None
    """Seconds that it still needs, as it reports; None if it does not report."""


class QueueView(Fact):
    """GET /v1/queue"""

    items: list[QueuedJob]
    running: list[HolderView] = []
    """The jobs on the cluster, oldest first."""
    num_waiting: int
    """Number of all waiting jobs; `items` may hold only the first ones."""
    nodes: list[NodeView] | None
    """None if the cluster did not answer."""

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
    """GET /v1/jobs/{job_id}/events with `Accept: application/json`.

    For the next page use `?after=` with the sequence of the last item.
    """

    items: list[StoredEvent]
    last_sequence: int
    """Sequence of the job's newest event; more pages follow while the last item's sequence is smaller."""


class AllEventsPage(Fact):
    """GET /v1/events with `Accept: application/json`.

    For the next page use `?after=` with the cursor, also if this page is empty.
    """

    items: list[StoredEvent]
    next_cursor: str
    has_more: bool
    """Whether events after the cursor can be read at once."""


class LogPiece(Fact):
    """A message `log` in the event stream of GET /v1/jobs/{job_id}/logs?follow=true."""

    attempt: int
    offset: int
    """Where the text starts in the attempt's log, in bytes of UTF-8."""
    text: str


class LogNote(Fact):
    """A message `note` in the same stream: information that the run itself did not print."""

    text: str


class MetricSeries(Fact):
    """A curve of a job, or of one of its trials."""

    name: str
    trial: str
    """Number of the trial; empty if the job is no sweep."""
    points: list[CurvePoint]
    """By step. Long curves are thinned; the lowest and the highest value of each stretch are kept."""


class MetricPage(Fact):
    """GET /v1/jobs/{job_id}/metrics"""

    items: list[MetricSeries]


class ProblemReason(Fact):
    """One reason why a request was refused."""

    loc: str
    """Path of the field, for example `training.epochs`."""
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
    """GET /readyz

    A degraded server is still ready: without Ray it accepts jobs, which then wait; without its storage all requests
    work that need no files.
    """

    ready: bool
    database: str
    schema_revision: str | None
    storage: str
    ray: str
    version: str
