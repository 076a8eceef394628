"""Stores the audit trail: who changed what."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import insert, select

from service.store.json_values import JsonObject
from service.store.statements import core
from service.store.tables import AuditEntry, table_of
from service.store.write_session import WriteSession

_INSERT = insert(table_of(AuditEntry))


@dataclass(frozen=True, kw_only=True)
class Entry:
    """Describes one change by one request."""

    at: datetime
    actor: str
    token_id: str | None
    action: str
    target: str
    project: str | None
    status: int
    request_id: str
    details: JsonObject | None


async def append(session: WriteSession, entry: Entry) -> None:
    """Insert an entry."""
    await (await core(session)).execute(_INSERT, vars(entry))


async def page(
    session: WriteSession,
    *,
    actor: str | None,
    action: str | None,
    project: str | None,
    target: str | None,
    before_id: int | None,
    limit: int,
) -> list[AuditEntry]:
    """Return a page of entries, newest first.

    Args:
        target: a text that the entry's target contains.
        before_id: only entries with a lower id.
    """
    wanted = {AuditEntry.actor: actor, AuditEntry.action: action, AuditEntry.project: project}
    query = select(AuditEntry).order_by(AuditEntry.id.desc()).limit(limit)
    query = query.where(*(column == value for column, value in wanted.items() if value is not None))
    if target is not None:
        query = query.where(AuditEntry.target.contains(target, autoescape=True))
    if before_id is not None:
        query = query.where(AuditEntry.id < before_id)
    return list(await session.scalars(query))
