"""Opens the reading and writing transactions of a control plane."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext
from datetime import datetime
from functools import partial

from sqlalchemy import func, select
from sqlalchemy.exc import TimeoutError as NoConnectionFree
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_sessionmaker

from service.errors import BusyError
from service.store.engines import Limits, Timings, async_engine, async_writer, blocking_writer
from service.store.group_commit import GroupCommit, T, Transact, Work
from service.store.notifier import Notifier
from service.store.statements import CHANGED_JOBS
from service.store.write_session import Info
from service.store.writer_thread import WriterThread
from service.urls import with_driver


class Database:
    """Opens short transactions: `async with database.reading() as session`, `async with database.writing() as session`.

    Never await the network inside one: a transaction that waits for a cluster blocks all other writers. Every method
    raises DatabaseAwayError, BusyError or StorageError if the database is unreachable, busy or full.
    """

    def __init__(self, url: str, limits: Limits | None = None, timings: Timings | None = None) -> None:
        self.notifier = Notifier()
        self._timings = timings or _NoTimings()
        self._engine = async_engine(with_driver(url), limits or Limits(), self._timings)
        self._turn: _Turn | nullcontext[None] = nullcontext()
        self._writer: WriterThread | None = None
        self.has_one_writer = self._engine.dialect.name == "sqlite"
        """Whether the database allows one writer at a time."""
        transact: Transact = self._transact
        if self.has_one_writer:
            # SQLite lets one writer in, and the others try again in no order; inside this process they queue instead.
            self._turn = _Turn(self._timings)
            timing = partial(self._timing, "writing")
            transact = self._writer = WriterThread(blocking_writer(self._engine), self._turn, self._committed, timing)
        self._group_commit = GroupCommit(transact)
        self._read = async_sessionmaker(self._engine, expire_on_commit=False)
        self._write = async_sessionmaker(async_writer(self._engine), expire_on_commit=False)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncSession]:
        """Open a session for reading."""
        with _pool_timeout_is_busy(), self._timing("reading"):
            async with self._read() as session:
                yield session

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncSession]:
        """Open a writing transaction: commit at the end, or roll back on an exception; then wake readers of changes."""
        with _pool_timeout_is_busy():
            async with self._turn:
                with self._timing("writing"):
                    async with self._write() as session, session.begin():
                        yield session
        self._committed(session.info)

    async def write_together(self, work: Work[T]) -> T:
        """Run `work(session)` in a writing transaction that it may share; it may await only methods of the session.

        The transaction is shared if the database has one writer at a time anyway. If it has several writers, work that
        waits for the lock of one job would delay the work of all other jobs.
        """
        if self.has_one_writer:
            return await self._group_commit.run(work)
        async with self.writing() as session:
            return await work(session)

    async def insert_together(self, work: Work[T]) -> T:
        """As `write_together`, for work that only reads and inserts: it waits for no lock, so it is always shared."""
        return await self._group_commit.run(work)

    @asynccontextmanager
    async def without_transaction(self) -> AsyncIterator[AsyncConnection]:
        """Open a connection for one statement that commits by itself, which saves two round trips."""
        with _pool_timeout_is_busy(), self._timing("writing"):
            async with self._engine.connect() as connection:
                yield await connection.execution_options(isolation_level="AUTOCOMMIT")

    async def server_time(self) -> datetime | None:
        """Return the time of the database server, which all control planes share; None for SQLite."""
        if self.has_one_writer:
            return None
        async with self.without_transaction() as connection:
            at: datetime = (await connection.execute(select(func.clock_timestamp()))).scalar_one()
            return at

    async def close(self) -> None:
        """Close all connections, after the commits under way."""
        self.notifier.close()
        await self._group_commit.close()
        writer, self._writer = self._writer, None
        if writer is not None:
            await writer.close()
        await self._engine.dispose()

    @contextmanager
    def _timing(self, kind: str) -> Iterator[None]:
        began_s = time.perf_counter()
        try:
            yield
        finally:
            self._timings.took(kind, time.perf_counter() - began_s)

    async def _transact(self, works: Sequence[Work[object]]) -> list[object]:
        async with self.writing() as session:
            return [await work(session) for work in works]

    def _committed(self, info: Info) -> None:
        for job_id in info.get(CHANGED_JOBS, ()):
            self.notifier.notify(job_id)


class _NoTimings(Timings):
    """Records nothing."""


class _Turn:
    """Serialises the writers of this process, and measures how long each one waits."""

    def __init__(self, timings: Timings) -> None:
        self._lock = asyncio.Lock()
        self._timings = timings

    async def __aenter__(self) -> None:
        began_s = time.perf_counter()
        await self._lock.acquire()
        self._timings.waited("turn", time.perf_counter() - began_s)

    async def __aexit__(self, *_: object) -> None:
        self._lock.release()


@contextmanager
def _pool_timeout_is_busy() -> Iterator[None]:
    try:
        yield
    except NoConnectionFree as cause:
        raise BusyError("all connections to the database are in use; try again in a moment") from cause
