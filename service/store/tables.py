"""Defines the tables. Every change needs a migration; a test compares the two."""

from datetime import UTC, datetime

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
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from fgd_core.spec.events import JobState
from service.store.json_values import JsonObject


class UtcDateTime(TypeDecorator[datetime]):
    """A time with a time zone. Stored in UTC, because SQLite stores no time zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


# SQLite assigns row numbers only in a column of exactly this type.
_RowNumber = BigInteger().with_variant(Integer, "sqlite")


class Base(DeclarativeBase):
    """The base class of all tables."""

    metadata = MetaData(
        # All constraints get names, because a migration can only drop a constraint by its name.
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {
        datetime: UtcDateTime(),
        JsonObject: JSON(none_as_null=True),
        JobState: String(16),
    }


def table_of(model: type[Base]) -> Table:
    """Return the table of a model, for statements without the ORM."""
    assert isinstance(model.__table__, Table)
    return model.__table__


def _index_of_few(name: str, *columns: str, where: str) -> Index:
    """Return an index of the rows that meet a condition: the other rows, however many, cost it nothing."""
    return Index(name, *columns, sqlite_where=text(where), postgresql_where=text(where))


def columns(row: Base) -> JsonObject:
    """Return the values of a row by column, for a view that has most of them under the same names."""
    return {column.key: getattr(row, column.key) for column in row.__table__.columns}


class Job(Base):
    """A job, with its state and its progress."""

    __tablename__ = "jobs"
    __table_args__ = (
        Index(None, "state", "created_at"),
        Index(None, "created_at", "id"),
        Index(None, "project", "created_at", "id"),
        Index(None, "kind", "created_at", "id"),
        Index(
            "ix_jobs_queue",
            *("state", "project", "priority", "cpus", "gpus", "tasks", "workers", "min_workers"),
            *("created_at", "id", "not_before"),
        ),
        Index(None, "state", "not_before"),
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

    state: Mapped[JobState]
    reason: Mapped[str | None] = mapped_column(String(64))
    """Reason code of the newest move."""
    message: Mapped[str] = mapped_column(Text, default="")
    """Explains the state in words."""
    created_at: Mapped[datetime]
    queued_at: Mapped[datetime | None]
    """When the job last entered the queue; its waiting time counts from here."""
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


class JobDependency(Base):
    """A checkpoint of one job that another job needs."""

    __tablename__ = "job_dependencies"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    needs_job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True, index=True)
    artifact: Mapped[str] = mapped_column(String(200), primary_key=True)
    """Name of the checkpoint."""


class Dataset(Base):
    """A registered data set. Its content is described by the result of its newest check."""

    __tablename__ = "datasets"
    __table_args__ = (UniqueConstraint("project", "name"), Index(None, "created_at", "id"))

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    project: Mapped[str] = mapped_column(String(64))
    data: Mapped[JsonObject]
    """The location of its files: a `FileData`."""
    created_at: Mapped[datetime]
    created_by: Mapped[str] = mapped_column(String(100), default="")
    check_job_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id"), index=True)
    """Job of the newest check; None if there is none or it was deleted."""
    checked_at: Mapped[datetime | None]
    """When the check reported `outcome`."""
    outcome: Mapped[JsonObject | None]
    """A `DataSetChecked`."""
    fingerprints: Mapped[JsonObject | None]
    """Fingerprint of each split; None if admission rejects training on the data set."""
    check_error: Mapped[JsonObject | None]
    """Error of the newest check."""


class JobDataset(Base):
    """A job whose spec names a registered data set."""

    __tablename__ = "job_datasets"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"), primary_key=True, index=True)


class Attempt(Base):
    """One execution of a job on the cluster."""

    __tablename__ = "attempts"
    __table_args__ = (
        UniqueConstraint("job_id", "number"),
        _index_of_few(
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


class MetricSeries(Base):
    """One curve of a job or of a trial."""

    __tablename__ = "metric_series"
    __table_args__ = (UniqueConstraint("job_id", "trial", "name"),)

    id: Mapped[int] = mapped_column(_RowNumber, primary_key=True, autoincrement=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    trial: Mapped[str] = mapped_column(String(64), default="")
    name: Mapped[str] = mapped_column(String(200))
    rolled_up_to: Mapped[int] = mapped_column(BigInteger, default=0)
    """Steps below this one are also in `metric_buckets`."""


class MetricPoint(Base):
    """One point of a curve."""

    __tablename__ = "metric_points"
    # The key is the whole row except for one number: stored in the index of the key, a row takes half the space.
    __table_args__ = {"sqlite_with_rowid": False}

    series_id: Mapped[int] = mapped_column(ForeignKey("metric_series.id"), primary_key=True)
    step: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    value: Mapped[float]


class MetricBucket(Base):
    """The lowest and the highest point of a bucket of steps, so that a long curve can be drawn from few rows."""

    __tablename__ = "metric_buckets"
    __table_args__ = {"sqlite_with_rowid": False}

    series_id: Mapped[int] = mapped_column(ForeignKey("metric_series.id"), primary_key=True)
    bucket: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    """First step of the bucket, divided by its number of steps."""
    min_step: Mapped[int] = mapped_column(BigInteger)
    min_value: Mapped[float]
    max_step: Mapped[int] = mapped_column(BigInteger)
    max_value: Mapped[float]


class Artifact(Base):
    """A file that a job saved."""

    __tablename__ = "artifacts"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    uri: Mapped[str] = mapped_column(Text)
    media_type: Mapped[str] = mapped_column(String(200))
    sha256: Mapped[str] = mapped_column(String(64))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    saved_at: Mapped[datetime]


class ModelName(Base):
    """The name of a model, which stays when its versions are deleted: no number is given to two files."""

    __tablename__ = "model_names"

    project: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    last_version: Mapped[int]
    """The highest number that a version has had."""


class ModelVersion(Base):
    """A version of a model: a name for a file of a job."""

    __tablename__ = "model_versions"

    project: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """Counts from 1 within the model."""
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), index=True)
    artifact: Mapped[str] = mapped_column(String(200))
    sha256: Mapped[str] = mapped_column(String(64))
    """Of the file when the version was made."""
    created_at: Mapped[datetime]
    created_by: Mapped[str] = mapped_column(String(100))


class ModelAlias(Base):
    """A name of a version that may move to another one, such as `production`."""

    __tablename__ = "model_aliases"

    project: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    alias: Mapped[str] = mapped_column(String(40), primary_key=True)
    version: Mapped[int]


class Lease(Base):
    """A lease: one control plane at a time holds it, until it expires."""

    __tablename__ = "leases"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    holder: Mapped[str] = mapped_column(String(100))
    fencing_token: Mapped[int] = mapped_column(BigInteger)
    """Grows with each new holder; writes with an older token are rejected."""
    expires_at: Mapped[datetime]


class Project(Base):
    """Weight and limits of a project; a project without a row has the defaults."""

    __tablename__ = "projects"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    weight: Mapped[float] = mapped_column(default=1.0)
    max_running_jobs: Mapped[int | None]
    max_gpus: Mapped[int | None]
    created_at: Mapped[datetime]


class ApiToken(Base):
    """A token for the API, as a hash."""

    __tablename__ = "api_tokens"

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    role: Mapped[str] = mapped_column(String(16))
    """read, submit or admin."""
    project: Mapped[str | None] = mapped_column(String(64))
    """None for all projects."""
    token_sha256: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime]
    created_by: Mapped[str] = mapped_column(String(100), default="")
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]


class AuditEntry(Base):
    """One change, with its author."""

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
    """HTTP status of the response."""
    request_id: Mapped[str] = mapped_column(String(64))
    details: Mapped[JsonObject | None]


class Webhook(Base):
    """A URL that is called when jobs end."""

    __tablename__ = "webhooks"

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    project: Mapped[str | None] = mapped_column(String(64))
    """The project whose jobs are delivered; None for all projects."""
    url: Mapped[str] = mapped_column(Text)
    secret: Mapped[str] = mapped_column(String(100))
    """Signs each delivery. Stored in plain text, because a hash cannot sign."""
    created_at: Mapped[datetime]
    created_by: Mapped[str] = mapped_column(String(100), default="")


class WebhookDelivery(Base):
    """One end of a job that is delivered to one webhook; inserted in the transaction that ends the job."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (Index(None, "next_try_at"), UniqueConstraint("webhook_id", "job_id", "sequence"))

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    webhook_id: Mapped[str] = mapped_column(ForeignKey("webhooks.id"))
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), index=True)
    sequence: Mapped[int]
    """Sequence of the event that is delivered."""
    created_at: Mapped[datetime]
    tries: Mapped[int] = mapped_column(default=0)
    next_try_at: Mapped[datetime | None]
    """None if the event was delivered or the retry limit was reached."""
    delivered_at: Mapped[datetime | None]
    last_error: Mapped[str | None] = mapped_column(Text)


class LoggerPosition(Base):
    """How far a logger has copied the events of all jobs: a position in their order; see `all_events`."""

    __tablename__ = "logger_positions"

    logger: Mapped[str] = mapped_column(String(64), primary_key=True)
    transaction_id: Mapped[int] = mapped_column(BigInteger)
    job_id: Mapped[str] = mapped_column(String(32))
    sequence: Mapped[int]


class LoggerCurve(Base):
    """How far a logger has copied a curve."""

    __tablename__ = "logger_curves"

    logger: Mapped[str] = mapped_column(String(64), primary_key=True)
    series_id: Mapped[int] = mapped_column(ForeignKey("metric_series.id"), primary_key=True, index=True)
    step: Mapped[int] = mapped_column(BigInteger)
    """Step of the last point that was copied."""


class SchemaFloor(Base):
    """One row: the oldest revision whose code still works on this schema.

    A migration that only adds keeps it, so that servers of the previous version continue during a rolling update. A
    migration that removes something raises it, and older servers do not start any more.
    """

    __tablename__ = "schema_floor"

    revision: Mapped[str] = mapped_column(String(32), primary_key=True)
