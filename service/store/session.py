"""Connections and transactions; the only module that knows which database it is."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from service.store.notifier import Notifier
from service.store.tables import Base

_WRITES = "writes"
_CHANGED_JOBS = "changed_jobs"


class Database:
    """`async with database.reading() as session` and `async with database.writing() as session`, both short.

    Never await the network inside of either: a transaction that waits for a cluster blocks every other writer.
    """

    def __init__(self, url: str) -> None:
        self.notifier = Notifier()
        self._engine = create_async_engine(url)
        self._turn: asyncio.Lock | nullcontext[None] = nullcontext()
        if self._engine.dialect.name == "sqlite":
            prepare_sqlite(self._engine.sync_engine)
            # SQLite lets one writer in and makes the others try again, in no order; in here they queue up instead.
            self._turn = asyncio.Lock()
        self._read = async_sessionmaker(self._engine, expire_on_commit=False)
        self._write = async_sessionmaker(self._engine.execution_options(**{_WRITES: True}), expire_on_commit=False)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncSession]:
        async with self._read() as session:
            yield session

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncSession]:
        """Commits at the end, or rolls back on an exception; then wakes those who wait for the jobs that changed."""
        async with self._turn, self._write() as session, session.begin():
            yield session
        for job_id in session.info.get(_CHANGED_JOBS, ()):
            self.notifier.notify(job_id)

    async def close(self) -> None:
        self.notifier.close()
        await self._engine.dispose()


def mark_changed(session: AsyncSession, job_id: str) -> None:
    """Have `job_id`'s readers woken once the transaction is committed."""
    session.info.setdefault(_CHANGED_JOBS, set()).add(job_id)


async def upsert(session: AsyncSession, table: type[Base], rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows; where the primary key is there already, the new values win."""
    if not rows:
        return
    insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    statement = insert(table)
    keys = [column.name for column in table.__table__.primary_key]
    values = {name: statement.excluded[name] for name in rows[0] if name not in keys}
    await session.execute(statement.on_conflict_do_update(index_elements=keys, set_=values), rows)


def prepare_sqlite(engine: Engine, *, foreign_keys: bool = True) -> None:
    """Set up each connection, and take over from the driver where transactions begin.

    Args:
        foreign_keys: off for migrations, which rebuild tables and must not cascade.
    """

    def on_connect(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode = WAL")
        # FULL: what was acknowledged to a run survives a power cut, for the run then forgets it.
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA busy_timeout = 10000")
        cursor.execute(f"PRAGMA foreign_keys = {'ON' if foreign_keys else 'OFF'}")
        cursor.close()

    def on_begin(connection: Connection) -> None:
        # A reader that turns writer half-way fails at once when another has written; so writers say so beforehand.
        writes = connection.get_execution_options().get(_WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    event.listen(engine, "connect", on_connect)
    event.listen(engine, "begin", on_begin)
