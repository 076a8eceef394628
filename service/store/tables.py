"""The tables. Whoever changes them writes a migration; a test holds the two together."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from fgd_core.spec.events import JobState


class UtcDateTime(TypeDecorator[datetime]):
    """An instant. SQLite keeps no time zone, so all are stored in UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


# SQLite numbers rows by itself only in a column of this very type.
_RowNumber = BigInteger().with_variant(Integer, "sqlite")


class Base(DeclarativeBase):
    metadata = MetaData(
        # Named constraints, for a migration can only drop what has a name.
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {
        datetime: UtcDateTime(),
        dict[str, Any]: JSON(none_as_null=True),
        JobState: String(16),
    }


class Job(Base):
    __tablename__ = "jobs"
    __table_args__ = (
        Index(None, "state", "created_at"),
        Index(None, "created_at", "id"),
        UniqueConstraint("project", "idempotency_key"),
    )

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    kind: Mapped[str] = mapped_column(String(32))
    project: Mapped[str] = mapped_column(String(64), default="default")
    submitted_by: Mapped[str] = mapped_column(String(100), default="")
    """Name of the token that was used."""
    priority: Mapped[int] = mapped_column(default=0)
    """As it is now; the spec keeps the one that was asked for."""
    preemptible: Mapped[bool] = mapped_column(default=False)
    spec: Mapped[dict[str, Any]]
    spec_version: Mapped[int]
    cpus: Mapped[int]
    gpus: Mapped[int]
    idempotency_key: Mapped[str | None] = mapped_column(String(200))
    spec_sha256: Mapped[str] = mapped_column(String(64))

    state: Mapped[JobState]
    reason: Mapped[str | None] = mapped_column(String(64))
    """Code of the newest move."""
    message: Mapped[str] = mapped_column(Text, default="")
    """Why it is in this state, in words."""
    created_at: Mapped[datetime]
    queued_at: Mapped[datetime | None]
    """When it was last put into the queue: what it has waited is counted from there."""
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    not_before: Mapped[datetime | None]
    """A retry waits until then."""
    stop_requested_at: Mapped[datetime | None]
    """When the run was first asked to stop, to be paused or cancelled; None outside of `pausing` and `cancelling`."""
    resumes_itself: Mapped[bool] = mapped_column(default=False)
    """Paused to make room for another job, and queued again as soon as it stands still."""
    current_attempt_id: Mapped[str | None] = mapped_column(String(48))
    failures: Mapped[int] = mapped_column(default=0)
    """Spent of `retry.failures`."""
    losses: Mapped[int] = mapped_column(default=0)
    """Spent of `retry.losses`."""
    version: Mapped[int] = mapped_column(default=1)
    """Of all but progress and events: grows with each move and each change by a user. The ETag."""

    traceparent: Mapped[str | None] = mapped_column(String(55))
    """Of the request that submitted it, after W3C Trace Context: what follows belongs to the same trace."""

    progress: Mapped[dict[str, Any]]
    error: Mapped[dict[str, Any] | None]
    result: Mapped[dict[str, Any] | None]
    last_sequence: Mapped[int] = mapped_column(default=0)
    """Of its newest event. Whoever appends locks this row: the numbers have no gaps, and become visible in order."""


class JobDependency(Base):
    __tablename__ = "job_dependencies"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    needs_job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True, index=True)
    artifact: Mapped[str] = mapped_column(String(200), primary_key=True)
    """Name of the checkpoint that it needs of that job."""


class Dataset(Base):
    """A data set by its name. What it holds is what the job of its newest check told."""

    __tablename__ = "datasets"
    __table_args__ = (UniqueConstraint("project", "name"), Index(None, "created_at", "id"))

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    project: Mapped[str] = mapped_column(String(64))
    data: Mapped[dict[str, Any]]
    """Where it lies: a `FileData`."""
    created_at: Mapped[datetime]
    created_by: Mapped[str] = mapped_column(String(100), default="")
    check_job_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id"), index=True)
    """The newest one; None too where that job was deleted."""
    checked_at: Mapped[datetime | None]
    """When `outcome` was told."""
    outcome: Mapped[dict[str, Any] | None]
    """A `DataSetChecked`."""
    fingerprints: Mapped[dict[str, Any] | None]
    """By split; None where training on it would be refused."""
    check_error: Mapped[dict[str, Any] | None]
    """What the newest check ended with."""


class JobDataset(Base):
    """A job whose spec names a data set."""

    __tablename__ = "job_datasets"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"), primary_key=True, index=True)


class Attempt(Base):
    __tablename__ = "attempts"
    __table_args__ = (UniqueConstraint("job_id", "number"),)

    id: Mapped[str] = mapped_column(String(48), primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    number: Mapped[int]
    token_sha256: Mapped[str] = mapped_column(String(64))
    claimed_by_sha256: Mapped[str | None] = mapped_column(String(64))
    """Of the secret that the run made up when it claimed this attempt: nobody else is given the token afterwards."""
    submission_id: Mapped[str] = mapped_column(String(64), unique=True)
    dashboard_url: Mapped[str | None] = mapped_column(Text)
    """None: Ray has forgotten it."""
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    heartbeat_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    archived_at: Mapped[datetime | None] = mapped_column(index=True)
    """When its driver log was put away, and nothing of it was held any more."""
    archive_tries: Mapped[int] = mapped_column(default=0, server_default="0")
    """How often Ray refused to say what an ended run printed, or whether it still runs."""
    archive_after: Mapped[datetime | None]
    """The next try may not be earlier."""
    log_kept_at: Mapped[datetime | None]
    """When the driver log of a run under way was last copied; with the cluster it would be gone."""
    cause: Mapped[str | None] = mapped_column(String(16))
    """How it ended: an `EndCause`."""
    error: Mapped[dict[str, Any] | None]
    spec_changes: Mapped[dict[str, Any] | None]
    """Fields of the spec, by path, that this attempt runs with other values of: after running out of memory."""


class AttemptStream(Base):
    __tablename__ = "attempt_streams"

    attempt_id: Mapped[str] = mapped_column(ForeignKey("attempts.id"), primary_key=True)
    stream: Mapped[str] = mapped_column(String(64), primary_key=True)
    last_sequence: Mapped[int] = mapped_column(BigInteger)


class Event(Base):
    __tablename__ = "events"
    __table_args__ = (Index(None, "transaction_id", "job_id", "sequence"),)

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    sequence: Mapped[int] = mapped_column(primary_key=True)
    transaction_id: Mapped[int] = mapped_column(BigInteger, default=0)
    """Of the transaction that stored it, growing: what a reader of all jobs' events goes by."""
    at: Mapped[datetime]
    attempt: Mapped[int | None]
    """Number of the attempt that reported it."""
    kind: Mapped[str] = mapped_column(String(64))
    data: Mapped[dict[str, Any]]


class MetricSeries(Base):
    """One curve."""

    __tablename__ = "metric_series"
    __table_args__ = (UniqueConstraint("job_id", "trial", "name"),)

    id: Mapped[int] = mapped_column(_RowNumber, primary_key=True, autoincrement=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    trial: Mapped[str] = mapped_column(String(64), default="")
    name: Mapped[str] = mapped_column(String(200))
    rolled_up_to: Mapped[int] = mapped_column(BigInteger, default=0)
    """Steps below this one are also in `metric_buckets`."""


class MetricPoint(Base):
    __tablename__ = "metric_points"
    # Its key is all of the row but one number: kept in the key's own tree, it takes half the space.
    __table_args__ = {"sqlite_with_rowid": False}

    series_id: Mapped[int] = mapped_column(ForeignKey("metric_series.id"), primary_key=True)
    step: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    value: Mapped[float]


class MetricBucket(Base):
    """The lowest and the highest point of a run of steps, so that a long curve is drawn from few rows."""

    __tablename__ = "metric_buckets"
    __table_args__ = {"sqlite_with_rowid": False}

    series_id: Mapped[int] = mapped_column(ForeignKey("metric_series.id"), primary_key=True)
    bucket: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    """First step of the run of steps, divided by its length."""
    min_step: Mapped[int] = mapped_column(BigInteger)
    min_value: Mapped[float]
    max_step: Mapped[int] = mapped_column(BigInteger)
    max_value: Mapped[float]


class Artifact(Base):
    __tablename__ = "artifacts"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    uri: Mapped[str] = mapped_column(Text)
    media_type: Mapped[str] = mapped_column(String(200))
    sha256: Mapped[str] = mapped_column(String(64))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    saved_at: Mapped[datetime]


class Lease(Base):
    """A right that one control plane at a time has, until it expires."""

    __tablename__ = "leases"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    holder: Mapped[str] = mapped_column(String(100))
    fencing_token: Mapped[int] = mapped_column(BigInteger)
    """Grows with each new holder: who comes with an older one writes nothing."""
    expires_at: Mapped[datetime]


class Project(Base):
    """Share and limits; a project that nobody set up has the defaults."""

    __tablename__ = "projects"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    weight: Mapped[float] = mapped_column(default=1.0)
    max_running_jobs: Mapped[int | None]
    max_gpus: Mapped[int | None]
    created_at: Mapped[datetime]


class ApiToken(Base):
    __tablename__ = "api_tokens"

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    role: Mapped[str] = mapped_column(String(16))
    """read, submit or admin."""
    project: Mapped[str | None] = mapped_column(String(64))
    """None: all of them."""
    token_sha256: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime]
    created_by: Mapped[str] = mapped_column(String(100), default="")
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]


class AuditEntry(Base):
    """Who changed what."""

    __tablename__ = "audit_entries"

    id: Mapped[int] = mapped_column(_RowNumber, primary_key=True, autoincrement=True)
    at: Mapped[datetime] = mapped_column(index=True)
    actor: Mapped[str] = mapped_column(String(100))
    token_id: Mapped[str | None] = mapped_column(String(16))
    action: Mapped[str] = mapped_column(String(64))
    """The operation id of the request, for example `cancel_job`."""
    target: Mapped[str] = mapped_column(String(300))
    project: Mapped[str | None] = mapped_column(String(64))
    status: Mapped[int]
    """HTTP status that the request was answered with."""
    request_id: Mapped[str] = mapped_column(String(64))
    details: Mapped[dict[str, Any] | None]


class Webhook(Base):
    __tablename__ = "webhooks"

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    project: Mapped[str | None] = mapped_column(String(64))
    """Whose jobs it hears of; None: all."""
    url: Mapped[str] = mapped_column(Text)
    secret: Mapped[str] = mapped_column(String(100))
    """Signs each delivery; in the clear, for a signature cannot be made from a hash."""
    created_at: Mapped[datetime]
    created_by: Mapped[str] = mapped_column(String(100), default="")


class WebhookDelivery(Base):
    """One end of a job that one webhook has to hear of; written with the end itself."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (Index(None, "next_try_at"), UniqueConstraint("webhook_id", "job_id", "sequence"))

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    webhook_id: Mapped[str] = mapped_column(ForeignKey("webhooks.id"))
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), index=True)
    sequence: Mapped[int]
    """Of the event that it tells."""
    created_at: Mapped[datetime]
    tries: Mapped[int] = mapped_column(default=0)
    next_try_at: Mapped[datetime | None]
    """None: delivered, or given up."""
    delivered_at: Mapped[datetime | None]
    last_error: Mapped[str | None] = mapped_column(Text)


class SchemaFloor(Base):
    """One row: the oldest revision whose code still works on this schema.

    A migration that only adds leaves it, so that servers of the version before go on while others are replaced; one
    that takes away raises it, and no server older than that starts any more.
    """

    __tablename__ = "schema_floor"

    revision: Mapped[str] = mapped_column(String(32), primary_key=True)
