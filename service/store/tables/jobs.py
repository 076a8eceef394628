"""Jobs, their attempts and their events."""

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Index, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from fgd_core.spec.events import JobState
from service.store.tables.base import Base, index_of_few
from service.store.tables.json_values import JsonObject


class Job(Base):
    """A job, with its state and its progress."""

    __tablename__ = "jobs"
    __table_args__ = (
        Index(None, "state", "created_at", "id"),
        Index(None, "created_at", "id"),
        Index(None, "project", "created_at", "id"),
        Index(None, "project", "state", "created_at", "id"),
        Index(None, "kind", "created_at", "id"),
        Index(None, "priority", "created_at", "id"),
        Index(None, "best_ap", "created_at", "id"),
        Index(None, "project", "best_ap", "created_at", "id"),
        Index(None, "seed_group", "created_at", "id"),
        Index("ix_jobs_lower_name_created_at_id", text("lower(name)"), "created_at", "id"),
        Index(
            "ix_jobs_queue",
            *("state", "project", "priority", "cpus", "gpus", "tasks", "workers", "min_workers"),
            *("created_at", "id", "not_before"),
        ),
        Index(None, "state", "not_before"),
        Index(None, "state", "queued_at"),
        index_of_few("ix_jobs_parent_id_created_at_id", "parent_id", "created_at", "id", where="parent_id IS NOT NULL"),
        UniqueConstraint("project", "idempotency_key"),
    )

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    kind: Mapped[str] = mapped_column(String(32))
    project: Mapped[str] = mapped_column(String(64), default="default")
    submitted_by: Mapped[str] = mapped_column(String(100), default="")
    """Name of the token that submitted the job."""
    priority: Mapped[int] = mapped_column(default=0)
    """The current priority; the spec keeps the one that was submitted."""
    preemptible: Mapped[bool] = mapped_column(default=False)
    spec: Mapped[JsonObject]
    spec_version: Mapped[int]
    cpus: Mapped[int]
    gpus: Mapped[int]
    workers: Mapped[int] = mapped_column(default=1, server_default="1")
    """Each has these CPUs and GPUs."""
    min_workers: Mapped[int] = mapped_column(default=1, server_default="1")
    """The job starts with at least so many workers."""
    tasks: Mapped[int] = mapped_column(default=1, server_default="1")
    """The trials that a sweep runs at once, each with its own workers; 1 for every other job."""
    idempotency_key: Mapped[str | None] = mapped_column(String(200))
    spec_sha256: Mapped[str] = mapped_column(String(64))
    seed_group: Mapped[str | None] = mapped_column(String(16))
    """What jobs share whose specs differ only in the seed; see `fgd_core.spec.seed_groups`. None if a server without
    this column stored the job."""
    parent_id: Mapped[str | None] = mapped_column(String(32))
    """The job that the spec was made from; it may be deleted since."""

    state: Mapped[JobState]
    reason: Mapped[str | None] = mapped_column(String(64))
    """Reason code of the newest move."""
    message: Mapped[str] = mapped_column(Text, default="")
    """Explains the state in words."""
    created_at: Mapped[datetime]
    queued_at: Mapped[datetime | None]
    """When the job last entered the queue; its waiting time counts from here. A queued job has it."""
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    not_before: Mapped[datetime | None]
    """A retry starts no earlier."""
    stop_requested_at: Mapped[datetime | None]
    """When the run was first asked to stop, for a pause or a cancel; None unless the state is pausing or cancelling."""
    resumes_itself: Mapped[bool] = mapped_column(default=False)
    """Whether the job was preempted: it is queued again as soon as it is paused."""
    current_attempt_id: Mapped[str | None] = mapped_column(String(48))
    failures: Mapped[int] = mapped_column(default=0)
    """Retries spent of `retry.failures`."""
    losses: Mapped[int] = mapped_column(default=0)
    """Retries spent of `retry.losses`."""
    version: Mapped[int] = mapped_column(default=1)
    """Grows with each move and each change by a user, not with progress or events. Used as ETag."""

    traceparent: Mapped[str | None] = mapped_column(String(55))
    """W3C Trace Context of the request that submitted the job; the job's spans belong to the same trace."""

    progress: Mapped[JsonObject]
    best_ap: Mapped[float | None]
    """`best_ap` of the progress, for lists that are sorted by it."""
    error: Mapped[JsonObject | None]
    result: Mapped[JsonObject | None]
    last_sequence: Mapped[int] = mapped_column(default=0)
    """Sequence of the newest event. Appending locks this row, so sequences have no gaps and become visible in order."""


class JobCount(Base):
    """A part of the number of jobs of a project in a state; triggers keep it, and the sum of all shards is the number.

    On PostgreSQL each connection has its own shard, so that writers never wait for each other.
    """

    __tablename__ = "job_counts"

    project: Mapped[str] = mapped_column(String(64), primary_key=True)
    state: Mapped[JobState] = mapped_column(primary_key=True)
    shard: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    num_jobs: Mapped[int]
    """May be negative, because another connection may have counted the job in."""


class JobKindCount(Base):
    """As `JobCount`, of the jobs of a kind in a state."""

    __tablename__ = "job_kind_counts"

    kind: Mapped[str] = mapped_column(String(32), primary_key=True)
    state: Mapped[JobState] = mapped_column(primary_key=True)
    shard: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    num_jobs: Mapped[int]


class JobDependency(Base):
    """A checkpoint of one job that another job needs, or a run of a study."""

    __tablename__ = "job_dependencies"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    needs_job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True, index=True)
    artifact: Mapped[str] = mapped_column(String(200), primary_key=True)
    """Name of the checkpoint. A study waits for the end of a run, whether it left this artifact or not."""
    arm: Mapped[str | None] = mapped_column(String(100))
    """Of a run of the study `job_id`: its arm; else None."""


class Attempt(Base):
    """One execution of a job on the cluster."""

    __tablename__ = "attempts"
    __table_args__ = (
        UniqueConstraint("job_id", "number"),
        index_of_few(
            *("ix_attempts_on_dashboard", "archived_at", "id"),
            where="archived_at IS NOT NULL AND dashboard_url IS NOT NULL",
        ),
    )

    id: Mapped[str] = mapped_column(String(48), primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    number: Mapped[int]
    token_sha256: Mapped[str] = mapped_column(String(64))
    claimed_by_sha256: Mapped[str | None] = mapped_column(String(64))
    """Hash of the secret that the run chose when it claimed this attempt; only its owner gets the token again."""
    submission_id: Mapped[str] = mapped_column(String(64), unique=True)
    dashboard_url: Mapped[str | None] = mapped_column(Text)
    """None if Ray no longer lists the run."""
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    heartbeat_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    archived_at: Mapped[datetime | None] = mapped_column(index=True)
    """When the driver log was archived; since then the cluster holds nothing of the attempt."""
    archive_tries: Mapped[int] = mapped_column(default=0, server_default="0")
    """How often Ray did not return the log or the state of the ended run."""
    archive_after: Mapped[datetime | None]
    """The next try is no earlier."""
    log_kept_at: Mapped[datetime | None]
    """When the log of the running driver was last copied; without a copy it would be lost with the cluster."""
    cause: Mapped[str | None] = mapped_column(String(16))
    """How the attempt ended: an `EndCause`."""
    error: Mapped[JsonObject | None]
    spec_changes: Mapped[JsonObject | None]
    """Spec fields, by path, whose values this attempt changes after an out-of-memory error."""


class AttemptStream(Base):
    """A stream of events of one reporting process, and how much of it is stored."""

    __tablename__ = "attempt_streams"

    attempt_id: Mapped[str] = mapped_column(ForeignKey("attempts.id"), primary_key=True)
    stream: Mapped[str] = mapped_column(String(64), primary_key=True)
    last_sequence: Mapped[int] = mapped_column(BigInteger)


class Event(Base):
    """One event of a job; it never changes."""

    __tablename__ = "events"
    __table_args__ = (Index(None, "transaction_id", "job_id", "sequence"),)

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    sequence: Mapped[int] = mapped_column(primary_key=True)
    transaction_id: Mapped[int] = mapped_column(BigInteger, default=0)
    """Growing number of the transaction that stored the event; readers of all jobs' events use it as their order."""
    at: Mapped[datetime]
    attempt: Mapped[int | None]
    """Number of the attempt that reported it."""
    kind: Mapped[str] = mapped_column(String(64))
    data: Mapped[JsonObject]
