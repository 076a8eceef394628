"""Projects, tokens, and who changed what."""

from datetime import datetime

from sqlalchemy import Index, String
from sqlalchemy.orm import Mapped, mapped_column

from service.store.tables.base import Base, RowNumber
from service.store.tables.json_values import JsonObject


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
    __table_args__ = (Index(None, "actor", "id"), Index(None, "action", "id"), Index(None, "project", "id"))

    id: Mapped[int] = mapped_column(RowNumber, primary_key=True, autoincrement=True)
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
