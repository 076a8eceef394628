"""Builds statements that SQLite and PostgreSQL need in different forms, and keeps facts about a transaction."""

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import TypeVar

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Executable,
    Interval,
    SQLColumnExpression,
    Table,
    Text,
    bindparam,
    cast,
    func,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from service.store.tables import Base, Event, UtcDateTime
from service.store.write_session import WriteConnection, WriteSession

T = TypeVar("T")

CHANGED_JOBS = "changed_jobs"
"""Key in a session's `info`: the ids of the jobs whose readers are woken after the commit."""
_NUMBER = "transaction_number"
_CONNECTION = "connection"


def mark_changed(session: WriteSession, job_id: str) -> None:
    """Wake the readers of a job after the transaction commits."""
    session.info.setdefault(CHANGED_JOBS, set()).add(job_id)


async def core(session: WriteSession) -> WriteConnection:
    """Return the session's connection, for statements on tables: without the ORM they take half of the time."""
    connection: WriteConnection | None = session.info.get(_CONNECTION)
    if connection is None:
        connection = session.info[_CONNECTION] = await session.connection()
    return connection


def dialect_of(session: WriteSession) -> str:
    """Return sqlite or postgresql."""
    return session.get_bind().dialect.name


def shared_now(dialect: str) -> ColumnElement[datetime]:
    """Return the time, by a clock that all control planes of the database share.

    Statements with it need the parameter `now`: on SQLite, whose file only this machine opens, its own clock counts.
    """
    # Not now(), which is the start of the transaction: it may have waited for a lock since.
    return bindparam("now", type_=UtcDateTime()) if dialect == "sqlite" else func.clock_timestamp(type_=UtcDateTime())


def shared_until(dialect: str) -> ColumnElement[datetime]:
    """Return the time `ttl` from now by the same clock. Statements with it need the parameters `ttl` and `until`."""
    if dialect == "sqlite":
        return bindparam("until", type_=UtcDateTime())
    return shared_now(dialect) + bindparam("ttl", type_=Interval())


def inserting(dialect: str, table: Table) -> sqlite.Insert | postgresql.Insert:
    """Return an INSERT that can say what happens to rows that exist."""
    return sqlite.insert(table) if dialect == "sqlite" else postgresql.insert(table)


async def upsert(session: WriteSession, table: type[Base], rows: Sequence[Mapping[str, object]]) -> None:
    """Insert rows; new values replace those of an existing row with the same primary key."""
    if rows:
        await (await core(session)).execute(_upsert(dialect_of(session), table.__table__, tuple(rows[0])), rows)


async def upsert_columns(session: WriteSession, table: Table, columns: Mapping[str, Sequence[object]]) -> None:
    """Insert or replace thousands of rows given as columns; each key may occur only once."""
    dialect = dialect_of(session)
    if dialect == "sqlite":
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        await (await core(session)).execute(_upsert(dialect, table, tuple(columns)), rows)
    else:
        await (await core(session)).execute(_upsert_arrays(table, tuple(columns)), dict(columns))


def replacing(statement: sqlite.Insert | postgresql.Insert, names: Sequence[str]) -> Executable:
    """Let an INSERT replace the columns `names` of an existing row with the same primary key."""
    keys = [column.name for column in statement.table.primary_key]
    values = {name: statement.excluded[name] for name in names if name not in keys}
    return statement.on_conflict_do_update(index_elements=keys, set_=values)


def unindexed(column: SQLColumnExpression[T]) -> ColumnElement[T]:
    """Return a column as an expression, so that SQLite, which has no statistics, does not choose its index."""
    return func.coalesce(column, column)


async def read_consistently(session: AsyncSession) -> None:
    """Make all reads of this transaction see the same moment. Call it first. SQLite transactions always do."""
    if dialect_of(session) != "sqlite":
        await session.connection(execution_options={"isolation_level": "REPEATABLE READ"})


async def transaction_number(session: WriteSession) -> int:
    """Return a number for this writing transaction, higher than those of all earlier ones.

    On PostgreSQL it is the server's own number, so that a reader can tell which earlier transactions still run.
    """
    number: int | None = session.info.get(_NUMBER)
    if number is None:
        if dialect_of(session) == "sqlite":
            largest = await (await core(session)).scalar(_LARGEST_NUMBER) or 0
            # A deleted job may have had the newest events: the clock prevents that their number is used again.
            number = max(largest + 1, time.time_ns() // 1000)
        else:
            number = await (await core(session)).scalar(_OWN_NUMBER)
        assert number is not None
        session.info[_NUMBER] = number
    return number


_LARGEST_NUMBER = select(func.max(Event.__table__.c.transaction_id))
_OWN_NUMBER = select(cast(cast(func.pg_current_xact_id(), Text), BigInteger))


# Cached: building such a statement takes longer than sending it.
@cache
def _upsert(dialect: str, table: Table, names: tuple[str, ...]) -> Executable:
    return replacing(inserting(dialect, table), names)


@cache
def _upsert_arrays(table: Table, names: tuple[str, ...]) -> Executable:
    """Return a statement with one array for each column: PostgreSQL receives one statement and not one for each row."""
    arrays = [bindparam(name, type_=ARRAY(table.c[name].type)) for name in names]
    given = func.unnest(*arrays).table_valued(*names).render_derived()
    statement = postgresql.insert(table).from_select(names, select(*(given.c[name] for name in names)))
    return replacing(statement, names)
