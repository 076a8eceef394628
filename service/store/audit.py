"""Stores the audit trail: who changed what."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import insert

from service.store import bounded_lists
from service.store.bounded_lists import Listing, Page
from service.store.statements import core
from service.store.tables import AuditEntry, table_of
from service.store.tables.json_values import JsonObject
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
) -> Page[AuditEntry]:
    """Return a page of entries, newest first. It may have fewer than `limit` although more follow: see `bounded_lists`.

    Args:
        target: a text that the entry's target contains.
        before_id: only entries with a lower id.
    """
    wanted = {AuditEntry.actor: actor, AuditEntry.action: action, AuditEntry.project: project}
    chosen = [(column, value) for column, value in wanted.items() if value is not None]
    # The first one by its index, which all three columns have.
    lanes = [column == value for column, value in chosen[:1]]
    others = [column == value for column, value in chosen[1:]]
    if target is not None:
        others.append(AuditEntry.target.contains(target, autoescape=True))
    listing = Listing(table=AuditEntry, key=(AuditEntry.id,), lanes=lanes, others=others)
    return await bounded_lists.read(
        session, listing, before=(before_id,) if before_id is not None else None, limit=limit
    )
