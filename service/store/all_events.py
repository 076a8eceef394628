"""The events of all jobs in one order that never changes behind a reader's back.

A reader goes by (transaction, job, sequence). On PostgreSQL a transaction gets its number when it first writes, and its
rows become visible when it commits, in another order; so rows count as there only once no transaction with a number as
low as theirs is under way. A late commit then delays what follows it, and is never passed over. SQLite has one writer
at a time: what is visible is complete.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import func, select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from fgd_core.spec.events import StoredEvent
from service.store.tables import Event, Job


class Position(NamedTuple):
    """Behind one event and before the next."""

    transaction_id: int
    job_id: str
    sequence: int


BEGINNING = Position(-1, "", 0)


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Which events are wanted; what is left empty lets all pass."""

    job_ids: Sequence[str] = ()
    projects: Sequence[str] = ()
    kinds: Sequence[str] = ()
    only_project: str | None = None
    """Whatever `projects` says: all that the reader may see."""

    def takes(self, project: str, job_id: str, kind: str) -> bool:
        return (
            (not self.job_ids or job_id in self.job_ids)
            and (not self.projects or project in self.projects)
            and (not self.kinds or kind in self.kinds)
            and self.only_project in (None, project)
        )


EVERYTHING = Filter()


class Placed(NamedTuple):
    position: Position
    project: str
    event: StoredEvent


@dataclass(frozen=True)
class Slice:
    events: list[Placed]
    end: Position
    """Everything wanted up to here is in `events`, and nothing will ever come to be before it."""


async def now(session: AsyncSession) -> Position:
    """Behind everything that is complete."""
    return Position(await _horizon(session), "", 0)


async def is_ahead(session: AsyncSession, position: Position) -> bool:
    """Whether a position is of another database, a newer one than this: nothing would come behind it for long.

    SQLite's numbers go by the clock, and catch up by themselves.
    """
    return session.get_bind().dialect.name == "postgresql" and position.transaction_id > await _horizon(session)


async def since(session: AsyncSession, position: Position, wanted: Filter, *, limit: int) -> Slice:
    """What comes behind `position` and is complete, in order."""
    # First the horizon, then the rows: every transaction below it was over by then, so a later look sees its rows.
    horizon = await _horizon(session)
    query = (
        select(Event, Job.project)
        .join(Job, Job.id == Event.job_id)
        .where(
            tuple_(Event.transaction_id, Event.job_id, Event.sequence) > tuple_(*position),
            Event.transaction_id < horizon,
        )
        .order_by(Event.transaction_id, Event.job_id, Event.sequence)
        .limit(limit)
    )
    for column, values in ((Event.job_id, wanted.job_ids), (Job.project, wanted.projects), (Event.kind, wanted.kinds)):
        if values:
            query = query.where(column.in_(values))
    if wanted.only_project is not None:
        query = query.where(Job.project == wanted.only_project)
    found = [
        Placed(Position(row.transaction_id, row.job_id, row.sequence), project, _stored(row))
        for row, project in await session.execute(query)
    ]
    end = found[-1].position if len(found) == limit else max(position, Position(horizon, "", 0))
    return Slice(found, end)


async def _horizon(session: AsyncSession) -> int:
    """The lowest transaction number whose rows may still come."""
    if session.get_bind().dialect.name == "postgresql":
        return int(await session.scalar(text("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")) or 0)
    return int(await session.scalar(select(func.max(Event.transaction_id))) or 0) + 1


def _stored(row: Event) -> StoredEvent:
    return StoredEvent(
        job_id=row.job_id, sequence=row.sequence, at=row.at, attempt=row.attempt, kind=row.kind, data=row.data
    )
