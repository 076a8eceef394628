"""Reads the events of all jobs in one order that is stable for every reader.

The order is (transaction, job, sequence). On PostgreSQL a transaction gets its number at its first write, and its rows
become visible at its commit; commits happen in another order than first writes. So a row is returned only when no
transaction with the same or a lower number still runs. A late commit then delays the events behind it, and no reader
skips it. SQLite has one writer at a time: what is visible is complete.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import func, select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from fgd_core.spec.events import StoredEvent
from service.store.tables import Event, Job


class Position(NamedTuple):
    """Marks a place between two events."""

    transaction_id: int
    job_id: str
    sequence: int


BEGINNING = Position(-1, "", 0)


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Selects events; an empty field selects all."""

    job_ids: Sequence[str] = ()
    projects: Sequence[str] = ()
    kinds: Sequence[str] = ()
    only_project: str | None = None
    """The only project that the reader may see, regardless of `projects`; None for all."""

    def takes(self, project: str, job_id: str, kind: str) -> bool:
        """Return whether the filter selects an event."""
        return (
            (not self.job_ids or job_id in self.job_ids)
            and (not self.projects or project in self.projects)
            and (not self.kinds or kind in self.kinds)
            and self.only_project in (None, project)
        )


EVERYTHING = Filter()


class Placed(NamedTuple):
    """An event with its project and the position behind it."""

    position: Position
    project: str
    event: StoredEvent


@dataclass(frozen=True)
class Slice:
    """A part of the ordered events."""

    events: list[Placed]
    end: Position
    """`events` has all selected events up to here, and no event will ever appear before it."""


async def now(session: AsyncSession) -> Position:
    """Return the position behind all complete events."""
    return Position(await _horizon(session), "", 0)


async def is_ahead(session: AsyncSession, position: Position) -> bool:
    """Return whether a position comes from another database with higher numbers: no event would follow it for long.

    Always False for SQLite, whose numbers follow the clock and catch up.
    """
    return session.get_bind().dialect.name == "postgresql" and position.transaction_id > await _horizon(session)


async def since(session: AsyncSession, position: Position, wanted: Filter, *, limit: int) -> Slice:
    """Return the complete events behind `position`, in order."""
    # Horizon first, rows second: all transactions below the horizon are over, so the second query sees their rows.
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
    choices = ((Event.job_id, wanted.job_ids), (Job.project, wanted.projects), (Event.kind, wanted.kinds))
    query = query.where(*(column.in_(values) for column, values in choices if values))
    if wanted.only_project is not None:
        query = query.where(Job.project == wanted.only_project)
    found = [
        Placed(
            Position(row.transaction_id, row.job_id, row.sequence),
            project,
            StoredEvent.model_validate(row, from_attributes=True),
        )
        for row, project in await session.execute(query)
    ]
    end = found[-1].position if len(found) == limit else max(position, Position(horizon, "", 0))
    return Slice(found, end)


async def _horizon(session: AsyncSession) -> int:
    """Return the lowest transaction number whose rows may still appear."""
    if session.get_bind().dialect.name == "postgresql":
        return int(await session.scalar(text("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")) or 0)
    return int(await session.scalar(select(func.max(Event.transaction_id))) or 0) + 1
