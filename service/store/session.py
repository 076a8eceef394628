"""Connections and transactions; with `migrate`, the only modules that know which database it is."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache, partial
from typing import Any, Protocol

import asyncpg
from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Connection,
    Engine,
    Executable,
    Interval,
    Table,
    Text,
    bindparam,
    cast,
    create_engine,
    event,
    func,
    literal,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine.interfaces import DBAPIConnection, ExceptionContext
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.exc import TimeoutError as NoConnectionFree
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, ConnectionPoolEntry, Pool

from service.errors import BusyError, from_database
from service.store.group_commit import GroupCommit, T, Transact, Work
from service.store.notifier import Notifier
from service.store.tables import Base, Event, UtcDateTime
from service.store.writer_thread import WriterThread
from service.urls import with_driver

_WRITES = "writes"
_CHANGED_JOBS = "changed_jobs"
_NUMBER = "transaction_number"
_CONNECTION = "connection"
_RESTING_SINCE = "resting_since"
_REST_S = 1.0


class Timings(Protocol):
    """Told how long the database takes, in seconds."""

    def took(self, kind: str, seconds: float) -> None:
        """`kind`: reading, writing."""
        ...

    def waited(self, what: str, seconds: float) -> None:
        """`what`: connection, turn."""
        ...


class _Untold:
    def took(self, kind: str, seconds: float) -> None:
        pass

    def waited(self, what: str, seconds: float) -> None:
        pass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one control plane takes of a PostgreSQL, and how long it waits for it. SQLite knows none of them."""

    pool_size: int = 10
    """Connections at most."""
    free_connection_s: float = 10.0
    connect_s: float = 5.0
    statement_s: float = 30.0
    lock_s: float = 10.0
    idle_in_transaction_s: float = 30.0
    """So that a control plane that hangs does not keep its locks from the others."""


class Database:
    """`async with database.reading() as session` and `async with database.writing() as session`, both short.

    Never await the network inside of either: a transaction that waits for a cluster blocks every other writer.
    A database that is away, busy or full is a DatabaseAwayError, BusyError or StorageError, wherever it shows.
    """

    def __init__(self, url: str, limits: Limits | None = None, timings: Timings | None = None) -> None:
        self.notifier = Notifier()
        self._timings = timings or _Untold()
        self._engine = _engine(with_driver(url), limits or Limits(), self._timings)
        self._turn: _Turn | nullcontext[None] = nullcontext()
        self._blocking: WriterThread | None = None
        self._has_one_writer = self._engine.dialect.name == "sqlite"
        transact: Transact = self._transact
        if self._has_one_writer:
            # SQLite lets one writer in and makes the others try again, in no order; in here they queue up instead.
            self._turn = _Turn(self._timings)
            blocking = _blocking_engine(self._engine)
            timing = partial(self._timing, "writing")
            transact = self._blocking = WriterThread(blocking, self._turn, self._committed, timing)
        self._shared = GroupCommit(transact)
        self._read = async_sessionmaker(self._engine, expire_on_commit=False)
        self._write = async_sessionmaker(writes(self._engine), expire_on_commit=False)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncSession]:
        with _waiting_in_vain(), self._timing("reading"):
            async with self._read() as session:
                yield session

    async def write_together(self, work: Work[T]) -> T:
        """`work(session)` as in `writing`, in a transaction that it may share; it may await nothing but the session.

        It is shared where there is one writer at a time anyway. Where there are many, one that waits for a job's lock
        would keep it from all the others.
        """
        if self._has_one_writer:
            return await self._shared.run(work)
        async with self.writing() as session:
            return await work(session)

    async def insert_together(self, work: Work[T]) -> T:
        """As `write_together`, for work that only reads and inserts: it waits for no lock, so it is always shared."""
        return await self._shared.run(work)

    @property
    def has_one_writer(self) -> bool:
        """Whether it lets in one writer at a time, as SQLite does."""
        return self._has_one_writer

    async def server_time(self) -> datetime | None:
        """What the database server's clock says, which is the same for all control planes; None of an SQLite file."""
        if self._has_one_writer:
            return None
        async with self.without_transaction() as connection:
            at: datetime = (await connection.execute(select(func.clock_timestamp()))).scalar_one()
            return at

    @asynccontextmanager
    async def without_transaction(self) -> AsyncIterator[AsyncConnection]:
        """For a statement that is a transaction by itself: beginning and committing one are two more round trips."""
        with _waiting_in_vain(), self._timing("writing"):
            async with self._engine.connect() as connection:
                yield await connection.execution_options(isolation_level="AUTOCOMMIT")

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncSession]:
        """Commits at the end, or rolls back on an exception; then wakes those who wait for the jobs that changed."""
        with _waiting_in_vain():
            async with self._turn:
                with self._timing("writing"):
                    async with self._write() as session, session.begin():
                        yield session
        self._committed(session.info)

    @contextmanager
    def _timing(self, kind: str) -> Iterator[None]:
        began_s = time.perf_counter()
        try:
            yield
        finally:
            self._timings.took(kind, time.perf_counter() - began_s)

    async def _transact(self, works: Sequence[Work[Any]]) -> list[Any]:
        async with self.writing() as session:
            return [await work(session) for work in works]

    def _committed(self, info: Mapping[Any, Any]) -> None:
        for job_id in info.get(_CHANGED_JOBS, ()):
            self.notifier.notify(job_id)

    async def close(self) -> None:
        self.notifier.close()
        await self._shared.close()
        blocking, self._blocking = self._blocking, None
        if blocking is not None:
            await blocking.close()
        await self._engine.dispose()


def mark_changed(session: AsyncSession, job_id: str) -> None:
    """Have `job_id`'s readers woken once the transaction is committed."""
    session.info.setdefault(_CHANGED_JOBS, set()).add(job_id)


async def core(session: AsyncSession) -> AsyncConnection:
    """The session's connection, for statements on tables: without the ORM they take half of the time."""
    connection: AsyncConnection | None = session.info.get(_CONNECTION)
    if connection is None:
        connection = session.info[_CONNECTION] = await session.connection()
    return connection


def shared_moment(session: AsyncSession, now: datetime, *, in_s: float = 0.0) -> ColumnElement[datetime]:
    """A moment by a clock that all control planes of the database share, `in_s` seconds from this one.

    Args:
        now: by the clock of this machine, which is the only one that comes to an SQLite file.
    """
    if _dialect(session) == "sqlite":
        return literal(now + timedelta(seconds=in_s), UtcDateTime())
    # Not now(): that is when the transaction began, and it may have waited for a lock since.
    return func.clock_timestamp(type_=UtcDateTime()) + literal(timedelta(seconds=in_s), Interval())


async def upsert(session: AsyncSession, table: type[Base], rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows; where the primary key is there already, the new values win."""
    if rows:
        await (await core(session)).execute(_upsert(_dialect(session), table.__table__, tuple(rows[0])), rows)


async def upsert_columns(session: AsyncSession, table: Table, columns: Mapping[str, Sequence[Any]]) -> None:
    """As `upsert`, but for thousands of rows, given column by column; no key may be there twice."""
    dialect = _dialect(session)
    if dialect == "sqlite":
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        await (await core(session)).execute(_upsert(dialect, table, tuple(columns)), rows)
    else:
        await (await core(session)).execute(_upsert_arrays(table, tuple(columns)), dict(columns))


# Made once: to put such a statement together takes longer than to send it.
@cache
def _upsert(dialect: str, table: Table, names: tuple[str, ...]) -> Executable:
    statement = sqlite.insert(table) if dialect == "sqlite" else postgresql.insert(table)
    keys = [column.name for column in table.primary_key]
    values = {name: statement.excluded[name] for name in names if name not in keys}
    return statement.on_conflict_do_update(index_elements=keys, set_=values)


@cache
def _upsert_arrays(table: Table, names: tuple[str, ...]) -> Executable:
    """One array a column: PostgreSQL is then sent one statement and not one for each row."""
    arrays = [bindparam(name, type_=ARRAY(table.c[name].type)) for name in names]
    given = func.unnest(*arrays).table_valued(*names).render_derived()
    statement = postgresql.insert(table).from_select(names, select(*(given.c[name] for name in names)))
    keys = [column.name for column in table.primary_key]
    values = {name: statement.excluded[name] for name in names if name not in keys}
    return statement.on_conflict_do_update(index_elements=keys, set_=values)


def _dialect(session: AsyncSession) -> str:
    return session.get_bind().dialect.name


async def read_consistently(session: AsyncSession) -> None:
    """Have all that this transaction reads be of one moment; call it first. SQLite does so by itself."""
    if _dialect(session) != "sqlite":
        await session.connection(execution_options={"isolation_level": "REPEATABLE READ"})


_LARGEST_NUMBER = select(func.max(Event.__table__.c.transaction_id))
_OWN_NUMBER = select(cast(cast(func.pg_current_xact_id(), Text), BigInteger))


async def transaction_number(session: AsyncSession) -> int:
    """A number for this writing transaction, above that of every one before it.

    On PostgreSQL it is the server's own, so that a reader can tell which of those before it are still under way.
    """
    number: int | None = session.info.get(_NUMBER)
    if number is None:
        if _dialect(session) == "sqlite":
            largest = await (await core(session)).scalar(_LARGEST_NUMBER) or 0
            # The newest events may have been deleted with their job: the clock keeps their number from coming again.
            number = max(largest + 1, time.time_ns() // 1000)
        else:
            number = await (await core(session)).scalar(_OWN_NUMBER)
        assert number is not None
        session.info[_NUMBER] = number
    return number


def prepare_sqlite(engine: Engine, *, foreign_keys: bool = True, busy_timeout_s: float = 10.0) -> None:
    """Set up each connection, and take over from the driver where transactions begin.

    Args:
        foreign_keys: off for migrations, which rebuild tables and must not cascade.
    """

    def on_connect(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        # First of all, for the next line may have to wait already.
        cursor.execute(f"PRAGMA busy_timeout = {round(busy_timeout_s * 1000)}")
        cursor.execute("PRAGMA journal_mode = WAL")
        # FULL: what was acknowledged to a run survives a power cut, for the run then forgets it.
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute(f"PRAGMA foreign_keys = {'ON' if foreign_keys else 'OFF'}")
        cursor.close()

    def on_begin(connection: Connection) -> None:
        # A reader that turns writer half-way fails at once when another has written; so writers say so beforehand.
        is_writer = connection.get_execution_options().get(_WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if is_writer else "BEGIN")

    event.listen(engine, "connect", on_connect)
    event.listen(engine, "begin", on_begin)


def writes(engine: AsyncEngine) -> AsyncEngine:
    """The engine whose transactions begin as a writer's."""
    return engine.execution_options(**{_WRITES: True})


def translate_errors(engine: AsyncEngine | Engine) -> None:
    """Have the errors that are the database's and not ours raised as what they mean."""

    def on_error(context: ExceptionContext) -> None:
        error = context.original_exception
        # A task that is cancelled loses its connection as well; that is no error of the database's.
        if not isinstance(error, Exception):
            return
        known = from_database(error, is_disconnected=context.is_disconnect)
        if known is not None:
            raise known from error

    event.listen(engine.sync_engine if isinstance(engine, AsyncEngine) else engine, "handle_error", on_error)


async def connect_to_postgresql(*args: Any, **options: Any) -> asyncpg.Connection:
    """asyncpg's, whose errors SQLAlchemy would let pass as they are."""
    try:
        return await asyncpg.connect(*args, **options)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as cause:
        known = from_database(cause, is_disconnected=True)
        raise known or cause from cause


class _Turn:
    """The one writer's turn, and how long it was waited for."""

    def __init__(self, timings: Timings) -> None:
        self._lock = asyncio.Lock()
        self._timings = timings

    async def __aenter__(self) -> None:
        began_s = time.perf_counter()
        await self._lock.acquire()
        self._timings.waited("turn", time.perf_counter() - began_s)

    async def __aexit__(self, *_: object) -> None:
        self._lock.release()


def _timed_pool(timings: Timings) -> type[Pool]:
    """A class, for the pool makes another of its class when it is thrown away."""

    class TimedPool(AsyncAdaptedQueuePool):
        def _do_get(self) -> ConnectionPoolEntry:
            began_s = time.perf_counter()
            try:
                return super()._do_get()
            finally:
                timings.waited("connection", time.perf_counter() - began_s)

    return TimedPool


def _engine(url: str, limits: Limits, timings: Timings) -> AsyncEngine:
    if url.startswith("sqlite"):
        engine = create_async_engine(url)
        prepare_sqlite(engine.sync_engine)
    else:
        engine = create_async_engine(
            url,
            poolclass=_timed_pool(timings),
            pool_size=limits.pool_size,
            max_overflow=0,
            pool_timeout=limits.free_connection_s,
            connect_args={
                "async_creator_fn": connect_to_postgresql,
                "timeout": limits.connect_s,
                # Above the server's own: this one is for a server that does not answer at all.
                "command_timeout": limits.statement_s + 5,
                "server_settings": {
                    "application_name": "fgd",
                    "statement_timeout": _ms(limits.statement_s),
                    "lock_timeout": _ms(limits.lock_s),
                    "idle_in_transaction_session_timeout": _ms(limits.idle_in_transaction_s),
                },
            },
        )
        _ping_the_rested(engine.sync_engine)
    translate_errors(engine)
    return engine


def _ping_the_rested(engine: Engine) -> None:
    """Look whether a connection still lives before it is used again, so that a database that was restarted is not seen.

    Not where it was used a moment ago: asyncpg takes three round trips for it, as many as some transactions.
    """

    def on_checkin(_: object, record: ConnectionPoolEntry) -> None:
        record.info[_RESTING_SINCE] = time.monotonic()

    def on_checkout(connection: DBAPIConnection, record: ConnectionPoolEntry, _: object) -> None:
        resting_since = record.info.get(_RESTING_SINCE)
        if resting_since is None or time.monotonic() - resting_since < _REST_S:
            return
        try:
            engine.dialect.do_ping(connection)
        except Exception as error:
            # The pool then makes another one.
            raise DisconnectionError from error

    event.listen(engine, "checkin", on_checkin)
    event.listen(engine, "checkout", on_checkout)


def _blocking_engine(engine: AsyncEngine) -> Engine:
    """Another way into the same SQLite file, for a thread that may wait."""
    blocking = create_engine(engine.url.set(drivername="sqlite"), execution_options={_WRITES: True})
    prepare_sqlite(blocking)
    translate_errors(blocking)
    return blocking


def _ms(seconds: float) -> str:
    return str(round(seconds * 1000))


@contextmanager
def _waiting_in_vain() -> Iterator[None]:
    try:
        yield
    except NoConnectionFree as cause:
        raise BusyError("all connections to the database are in use; try again in a moment") from cause
