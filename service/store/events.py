"""Stores the events of a job, numbered without gaps."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, insert, select, update

from fgd_core.errors import NotFoundError
from fgd_core.spec.base import Fact
from fgd_core.spec.events import JobState, StoredEvent
from service.store.statements import core, mark_changed, transaction_number
from service.store.tables import Event, Job, table_of
from service.store.tables.json_values import JsonObject, storable
from service.store.write_session import WriteSession

# The kind becomes a field of an SSE message, in which a line break would start another field.
_KIND = re.compile(r"^[A-Za-z0-9_.-]{1,64}$")
PAGE = 1_000
"""Rows read at once; the event loop serves other requests between two pages of a large job."""

# Built once: each stream reads the head four times a second, and building it takes longer than reading it.
_HEAD = select(Job.state, Job.last_sequence).where(Job.id == bindparam("job_id"))
_INSERT = insert(table_of(Event))


async def append(
    session: WriteSession,
    job_id: str,
    attempt: int | None,
    events: Sequence[tuple[datetime, Fact | JsonObject]],
    *,
    last: int | None = None,
    columns: Mapping[str, Any] | None = None,
) -> int:
    """Number and store events under a lock on the job's row.

    Args:
        attempt: number of the attempt that reports the events; None if the control plane does.
        events: (time, event) in order; an event given as a dict must already be `storable`.
        last: the job's last sequence, if the caller has locked its row.
        columns: other columns of the job's row to set in the same statement.
    Returns:
        The job's last sequence.
    Raises:
        NotFoundError: the job does not exist.
    """
    if last is None:
        last = await session.scalar(select(Job.last_sequence).where(Job.id == job_id).with_for_update())
    if last is None:
        raise unknown_job(job_id)
    if not events:
        return last
    last = await insert_behind(session, job_id, attempt, events, last=last)
    await session.execute(update(Job).where(Job.id == job_id).values({**(columns or {}), "last_sequence": last}))
    return last


async def insert_behind(
    session: WriteSession,
    job_id: str,
    attempt: int | None,
    events: Sequence[tuple[datetime, Fact | JsonObject]],
    *,
    last: int,
) -> int:
    """As `append`, for a caller that sets `last_sequence` of the job's row to the returned sequence itself."""
    transaction_id = await transaction_number(session)
    rows = []
    for sequence, (at, event) in enumerate(events, start=last + 1):
        data = storable(event.model_dump(mode="json")) if isinstance(event, Fact) else event
        kind = str(data.get("kind"))
        rows.append(
            {
                "job_id": job_id,
                "sequence": sequence,
                "transaction_id": transaction_id,
                "at": at,
                "attempt": attempt,
                "kind": kind if _KIND.match(kind) else "unknown",
                "data": data,
            }
        )
    await (await core(session)).execute(_INSERT, rows)
    mark_changed(session, job_id)
    return last + len(rows)


async def head(session: WriteSession, job_id: str) -> tuple[JobState, int]:
    """Return a job's state and the sequence of its newest event, both of one moment.

    Raises:
        NotFoundError: the job does not exist.
    """
    row = (await session.execute(_HEAD, {"job_id": job_id})).one_or_none()
    if row is None:
        raise unknown_job(job_id)
    return row.state, row.last_sequence


async def after(session: WriteSession, job_id: str, sequence: int, *, limit: int) -> list[StoredEvent]:
    """Return at most `limit` events after `sequence`, oldest first."""
    return await _page(session, job_id, sequence, kinds=None, limit=limit)


async def every(session: WriteSession, job_id: str, kinds: Sequence[str] | None = None) -> list[StoredEvent]:
    """Return all events of a job, or all of some kinds, oldest first."""
    found: list[StoredEvent] = []
    while True:
        page = await _page(session, job_id, found[-1].sequence if found else 0, kinds=kinds, limit=PAGE)
        found += page
        if len(page) < PAGE:
            return found


def unknown_job(job_id: str) -> NotFoundError:
    """Return the error for a job that does not exist."""
    return NotFoundError(f"no job {job_id!r}; GET /v1/jobs lists all jobs", job_id=job_id)


async def _page(
    session: WriteSession, job_id: str, sequence: int, *, kinds: Sequence[str] | None, limit: int
) -> list[StoredEvent]:
    # Columns instead of `Event` objects: a large sweep has a hundred thousand events.
    columns = (Event.job_id, Event.sequence, Event.at, Event.attempt, Event.kind, Event.data)
    query = select(*columns).where(Event.job_id == job_id)
    if kinds is not None:
        query = query.where(Event.kind.in_(kinds))
    rows = await session.execute(query.where(Event.sequence > sequence).order_by(Event.sequence).limit(limit))
    return [StoredEvent(**row._mapping) for row in rows]
