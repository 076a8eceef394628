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
    __table_args__ = (Index(None, "state", "created_at"), Index(None, "created_at", "id"))

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    kind: Mapped[str] = mapped_column(String(32))
    spec: Mapped[dict[str, Any]]
    spec_version: Mapped[int]
    cpus: Mapped[int]
    gpus: Mapped[int]
    idempotency_key: Mapped[str | None] = mapped_column(String(200), unique=True)
    spec_sha256: Mapped[str] = mapped_column(String(64))

    state: Mapped[JobState]
    reason: Mapped[str | None] = mapped_column(String(64))
    """Code of the newest move."""
    message: Mapped[str] = mapped_column(Text, default="")
    """Why it is in this state, in words."""
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    not_before: Mapped[datetime | None]
    """A retry waits until then."""
    cancel_requested_at: Mapped[datetime | None]
    current_attempt_id: Mapped[str | None] = mapped_column(String(48))
    retries: Mapped[int] = mapped_column(default=0)

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


class Attempt(Base):
    __tablename__ = "attempts"
    __table_args__ = (UniqueConstraint("job_id", "number"),)

    id: Mapped[str] = mapped_column(String(48), primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    number: Mapped[int]
    token_sha256: Mapped[str] = mapped_column(String(64))
    submission_id: Mapped[str] = mapped_column(String(64), unique=True)
    dashboard_url: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    heartbeat_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    archived_at: Mapped[datetime | None] = mapped_column(index=True)
    """When its driver log was put away and the cluster was told to forget it."""
    error: Mapped[dict[str, Any] | None]


class AttemptStream(Base):
    __tablename__ = "attempt_streams"

    attempt_id: Mapped[str] = mapped_column(ForeignKey("attempts.id"), primary_key=True)
    stream: Mapped[str] = mapped_column(String(64), primary_key=True)
    last_sequence: Mapped[int] = mapped_column(BigInteger)


class Event(Base):
    __tablename__ = "events"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    sequence: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    attempt: Mapped[int | None]
    """Number of the attempt that reported it."""
    kind: Mapped[str] = mapped_column(String(64))
    data: Mapped[dict[str, Any]]


class MetricPoint(Base):
    __tablename__ = "metric_points"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    trial: Mapped[str] = mapped_column(String(64), primary_key=True, default="")
    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    step: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    value: Mapped[float]


class Artifact(Base):
    __tablename__ = "artifacts"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    uri: Mapped[str] = mapped_column(Text)
    media_type: Mapped[str] = mapped_column(String(200))
    sha256: Mapped[str] = mapped_column(String(64))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    saved_at: Mapped[datetime]
