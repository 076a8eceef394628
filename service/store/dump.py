"""Dumps and loads all rows as lines of JSON, in one format that SQLite and PostgreSQL share."""

import json
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from datetime import datetime
from itertools import islice

from sqlalchemy import JSON, Connection, DateTime, Integer, MetaData, Table, event, func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from service.store.tables import Base, SchemaFloor, UtcDateTime
from service.store.tables.json_values import JsonObject

_CHUNK_ROWS = 2_000

# Leases belong to the control planes that ran during the backup; they mean nothing to later ones. The positions of
# loggers hold transaction numbers; without them the loggers read all events again, and copy no point twice. Triggers
# count the jobs while they are loaded.
_LEFT_OUT_TABLES = frozenset({"leases", "logger_positions", "job_counts", "job_kind_counts"})
# Transaction numbers are valid only in the database that assigned them; elsewhere they might be far in the future.
_LEFT_OUT_COLUMNS = frozenset({("events", "transaction_id")})

Change = Callable[[str, JsonObject], None]


async def tables(session: AsyncSession) -> list[Table]:
    """Return our tables as this database has them, at any revision; a table follows the tables that it refers to."""
    return await (await session.connection()).run_sync(_reflect)


def is_dumped(table: Table) -> bool:
    """Return whether backups contain the table."""
    return table.name not in _LEFT_OUT_TABLES


def columns(table: Table) -> list[str]:
    """Return the names of the columns that backups contain."""
    return [column.name for column in table.columns if (table.name, column.name) not in _LEFT_OUT_COLUMNS]


async def count(session: AsyncSession, table: Table) -> int:
    """Return the number of rows."""
    return await session.scalar(select(func.count()).select_from(table)) or 0


async def rows(session: AsyncSession, table: Table) -> AsyncIterator[list[str]]:
    """Yield all rows in chunks of a few thousand; each row is a JSON array of the values of `columns`."""
    query = select(*(table.c[name] for name in columns(table))).order_by(*table.primary_key)
    result = await session.stream(query.execution_options(yield_per=_CHUNK_ROWS))
    async for chunk in result.partitions():
        yield [json.dumps(list(row), default=_written, separators=(",", ":")) for row in chunk]


async def load(
    session: AsyncSession, table: Table, names: Sequence[str], lines: Iterable[bytes], change: Change
) -> AsyncIterator[int]:
    """Insert rows and yield the number of rows of each chunk.

    Args:
        names: the columns of the values in each line.
        change: called with the table's name and each row; may change the row before it is inserted.
    """
    read = [_reader(table, name) for name in names]
    remaining = iter(lines)
    while chunk := list(islice(remaining, _CHUNK_ROWS)):
        parsed = []
        for line in chunk:
            row = {name: of(value) for name, of, value in zip(names, read, json.loads(line), strict=True)}
            change(table.name, row)
            parsed.append(row)
        await session.execute(insert(table), parsed)
        yield len(parsed)


async def continue_numbering(session: AsyncSession, table: Table) -> None:
    """Make PostgreSQL number new rows after the loaded ones; SQLite does so without help."""
    if session.get_bind().dialect.name == "sqlite":
        return
    for key in table.primary_key:
        if isinstance(key.type, Integer) and len(table.primary_key) == 1:
            await session.execute(
                text(
                    "SELECT setval(pg_get_serial_sequence(:table, :column), "
                    f'(SELECT coalesce(max("{key.name}"), 0) + 1 FROM "{table.name}"), false)'
                ),
                {"table": table.name, "column": key.name},
            )


def _reflect(connection: Connection) -> list[Table]:
    metadata = MetaData()

    @event.listens_for(metadata, "column_reflect")
    def on_column(inspector: object, table: Table, column: JsonObject) -> None:
        # The reflected types are those of the database, and the two databases read times and nulls differently.
        if isinstance(column["type"], DateTime):
            column["type"] = UtcDateTime()
        elif isinstance(column["type"], JSON):
            column["type"] = JSON(none_as_null=True)

    # Other programs may have tables in the same PostgreSQL. A migration that drops one of our tables has to keep its
    # name here. The schema itself brings the row of SchemaFloor.
    ours = Base.metadata.tables.keys() - {SchemaFloor.__tablename__}
    metadata.reflect(connection, only=lambda name, _: name in ours)
    return metadata.sorted_tables


def _written(value: object) -> str:
    assert isinstance(value, datetime), f"a column has a value of type {type(value).__name__}, which JSON cannot hold"
    return value.isoformat()


def _reader(table: Table, name: str) -> Callable[[object], object]:
    if isinstance(table.c[name].type, UtcDateTime):
        return lambda value: datetime.fromisoformat(value) if isinstance(value, str) else None
    return lambda value: value
