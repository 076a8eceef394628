"""What is sent elsewhere: webhooks, and how far loggers have copied."""

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from service.store.tables.base import Base


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
    __table_args__ = (
        Index(None, "next_try_at"),
        Index(None, "webhook_id", "created_at", "id"),
        UniqueConstraint("webhook_id", "job_id", "sequence"),
    )

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
