"""Reads the events of all jobs in one order that is stable for every reader.

The order is (transaction, job, sequence). On PostgreSQL a transaction gets its number at its first write, and its rows
become visible at its commit; commits happen in another order than first writes. So a row is returned only when no
transaction with the same or a lower number still runs. A late commit then delays the events behind it, and no reader
skips it. SQLite has one writer at a time: what is visible is complete.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import ColumnElement, and_, func, select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from fgd_core.spec.events import StoredEvent
from service.store.statements import unindexed
from service.store.tables import Event, Job


class Position(NamedTuple):
    """Marks a place between two events."""

    transaction_id: int
    job_id: str
    sequence: int


BEGINNING = Position(-1, "", 0)
EXAMINED = 10_000
"""The most events that one read examines for a condition that no index answers."""
_PLACE = (Event.transaction_id, Event.job_id, Event.sequence)
# For SQLite to read the events of the named jobs, and not those of all jobs in this order.
_BY_JOB = (unindexed(Event.transaction_id), *_PLACE[1:])
# A value and no join: a database could begin with the jobs of a project, and read all of their events.
_PROJECT = select(Job.project).where(Job.id == Event.job_id).scalar_subquery()


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Selects events; an empty field selects all."""

    job_ids: Sequence[str] = ()
    projects: Sequence[str] = ()
    kinds: Sequence[str] = ()
    only_project: str | None = None
    """The only project that the reader may see, regardless of `projects`; None for all."""

    def has_only_conditions_without_index(self) -> bool:
        """Return whether a read could examine the events of all jobs in vain."""
        return not self.job_ids and bool(self.projects or self.kinds or self.only_project is not None)

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
    has_more: bool
    """Whether events behind `end` can be read at once."""


async def now(session: AsyncSession) -> Position:
    """Return the position behind all complete events."""
    return Position(await _horizon(session), "", 0)


async def is_ahead(session: AsyncSession, position: Position) -> bool:
    """Return whether a position comes from another database with higher numbers: no event would follow it for long.

    Always False for SQLite, whose numbers follow the clock and catch up.
    """
    return session.get_bind().dialect.name == "postgresql" and position.transaction_id > await _horizon(session)


async def since(session: AsyncSession, position: Position, wanted: Filter, *, limit: int) -> Slice:
    """Return complete events behind `position`, in order: at most `limit`, and those of a limited number of events."""
    # Horizon first, rows second: all transactions below the horizon are over, so the second query sees their rows.
    horizon = await _horizon(session)
    if position.transaction_id >= horizon:
        return Slice([], position, has_more=False)
    place = _PLACE if not wanted.job_ids else _BY_JOB
    behind, end = tuple_(*place) > tuple_(*position), place[0] < horizon
    last = None
    if wanted.has_only_conditions_without_index():
        last = await _last_examined(session, and_(behind, end))
    if last is not None:
        # In place of the horizon: SQLite ends a range at one condition only, and would read all events up to that one.
        end = tuple_(*place) <= tuple_(*last)
    query = select(Event, _PROJECT).where(behind, end, *_conditions(wanted))
    found = [
        Placed(
            Position(row.transaction_id, row.job_id, row.sequence),
            project,
            StoredEvent.model_validate(row, from_attributes=True),
        )
        for row, project in await session.execute(query.order_by(*place).limit(limit))
    ]
    if len(found) == limit:
        return Slice(found, found[-1].position, has_more=True)
    if last is not None:
        return Slice(found, last, has_more=True)
    return Slice(found, Position(horizon, "", 0), has_more=False)


def _conditions(wanted: Filter) -> list[ColumnElement[bool]]:
    choices = ((Event.job_id, wanted.job_ids), (_PROJECT, wanted.projects), (Event.kind, wanted.kinds))
    found: list[ColumnElement[bool]] = [column.in_(values) for column, values in choices if values]
    if wanted.only_project is not None:
        found.append(_PROJECT.in_([wanted.only_project]))
    return found


async def _last_examined(session: AsyncSession, behind: ColumnElement[bool]) -> Position | None:
    """Return the position up to which one read examines the events; None if fewer are left."""
    query = select(*_PLACE).where(behind).order_by(*_PLACE).offset(EXAMINED - 1).limit(1)
    row = (await session.execute(query)).one_or_none()
    return Position(*row) if row is not None else None


async def _horizon(session: AsyncSession) -> int:
    """Return the lowest transaction number whose rows may still appear."""
    if session.get_bind().dialect.name == "postgresql":
        return int(await session.scalar(_LOWEST_OPEN) or 0)
    return int(await session.scalar(_LARGEST) or 0) + 1


_LOWEST_OPEN = text("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
_LARGEST = select(func.max(Event.transaction_id))
