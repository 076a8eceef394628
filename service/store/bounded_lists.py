"""Reads pages of long lists at a cost that does not grow with the list.

A condition that no index answers could make a page read the whole list. So a page examines a limited number of rows,
and may have fewer rows than asked for although more follow.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, Self, TypeAlias, TypeVar

from sqlalchemy import (
    ColumnElement,
    Subquery,
    Tuple,
    and_,
    literal,
    or_,
    select,
    true,
    tuple_,
    union_all,
)
from sqlalchemy.orm import InstrumentedAttribute

from service.store.tables import Base
from service.store.write_session import WriteSession

EXAMINED = 5_000
"""The most rows that a page examines; reading them takes about 20 ms."""

T = TypeVar("T", bound=Base)
Item = TypeVar("Item")
Sortable: TypeAlias = ColumnElement[Any] | InstrumentedAttribute[Any]
"""A column, or what an index computes from one."""
Expression: TypeAlias = ColumnElement[Any]
Key: TypeAlias = tuple[Any, ...]
"""The values of a row in the columns of `Listing.key`."""


@dataclass(frozen=True, kw_only=True)
class Listing(Generic[T]):
    """Describes an ordered list of rows."""

    table: type[T]
    key: Sequence[Sortable]
    """The columns of its order, all in one direction; the last one is the primary key of the table."""
    is_ascending: bool = False
    lanes: Sequence[ColumnElement[bool]] = ()
    """The list has the rows of each lane, and no row is in two. An index has each lane in the order of the list.
    Without lanes the list has all rows."""
    ranges: Sequence[ColumnElement[bool]] = ()
    """Conditions on the columns of the order."""
    others: Sequence[ColumnElement[bool]] = ()
    """Conditions that no index answers."""

    def within(self, condition: ColumnElement[bool]) -> Self:
        """Return the part of the list that meets a condition on the columns of the order."""
        return replace(self, ranges=[*self.ranges, condition])

    def behind(self, key: Key) -> ColumnElement[bool]:
        """Return whether a row follows a key in the order of the list."""
        here, there = tuple_(*self.key), self._values(key)
        return here > there if self.is_ascending else here < there

    def until(self, key: Key) -> ColumnElement[bool]:
        """Return whether a row is at a key or precedes it in the order of the list."""
        here, there = tuple_(*self.key), self._values(key)
        return here <= there if self.is_ascending else here >= there

    def ordered(self, columns: Iterable[Sortable]) -> list[Expression]:
        """Return what sorts rows with such columns into the order of the list."""
        return [column.asc() if self.is_ascending else column.desc() for column in columns]

    def conditions(self) -> Sequence[ColumnElement[bool]]:
        """Return what all rows of the list meet."""
        return [*self.ranges, *self.others, *([or_(*self.lanes)] if self.lanes else [])]

    def _values(self, key: Key) -> Tuple:
        # Each value with the type of its column: the database may store it in another form.
        return tuple_(*(literal(value, column.type) for value, column in zip(key, self.key, strict=True)))


@dataclass(frozen=True, kw_only=True)
class Page(Generic[Item]):
    """A page of a list."""

    rows: Sequence[Item]
    end: Key | None
    """The next page begins behind this key; None if the list ends here."""


async def read(session: WriteSession, listing: Listing[T], *, before: Key | None, limit: int) -> Page[T]:
    """Return a page of at most `limit` rows.

    Args:
        before: the `end` of the previous page; None for the first page.
    """
    examined = _first(listing, before, EXAMINED if listing.others else limit + 1)
    in_order = listing.ordered(_key_of(examined))
    matching = select(*_key_of(examined)).where(examined.c.is_match).order_by(*in_order).limit(limit + 1)
    keys = [tuple(row) for row in await session.execute(matching)]
    rows = await rows_of(session, listing, keys[:limit])
    if len(keys) > limit:
        return Page(rows=rows, end=keys[limit - 1])
    if not listing.others:
        return Page(rows=rows, end=None)
    last = select(*_key_of(examined)).order_by(*in_order).offset(EXAMINED - 1).limit(1)
    row = (await session.execute(last)).one_or_none()
    return Page(rows=rows, end=tuple(row) if row is not None else None)


async def rows_of(session: WriteSession, listing: Listing[T], keys: Sequence[Key]) -> list[T]:
    """Return the rows with these keys, in the order of the list."""
    if not keys:
        return []
    query = select(listing.table).where(listing.key[-1].in_([key[-1] for key in keys]))
    return list(await session.scalars(query.order_by(*listing.ordered(listing.key))))


def _first(listing: Listing[T], before: Key | None, size: int) -> Subquery:
    """Return the keys of the first `size` rows behind `before`, and for each row whether it meets the other conditions.

    The conditions are values here: as conditions they could lead a database to another index, and to all of its rows.
    """
    ranges = [*listing.ranges, *([listing.behind(before)] if before is not None else [])]
    columns = [column.label(f"key_{index}") for index, column in enumerate(listing.key)]
    query = select(*columns, and_(true(), *listing.others).label("is_match"))
    query = query.where(*ranges).order_by(*listing.ordered(listing.key)).limit(size)
    if len(listing.lanes) < 2:
        return query.where(*listing.lanes).subquery()
    # Lane by lane: an index is in the order of the list within a lane only, and a sort would read them all.
    lanes = union_all(*(select(query.where(lane).subquery()) for lane in listing.lanes)).subquery()
    return select(lanes).order_by(*listing.ordered(_key_of(lanes))).limit(size).subquery()


def _key_of(rows: Subquery) -> list[Expression]:
    return [column for column in rows.c if column.name != "is_match"]
