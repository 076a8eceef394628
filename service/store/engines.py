"""Creates the SQLAlchemy engines: their connections, pools, timeouts and errors.

With `statements` and `migrate`, this is the only module that distinguishes SQLite from PostgreSQL.
"""

import sqlite3
import time
from dataclasses import dataclass
from typing import Any, Protocol

import asyncpg
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection, ExceptionContext
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, ConnectionPoolEntry, Pool

from service.errors import from_database

_WRITES = "writes"
_IDLE_SINCE_S = "idle_since_s"
_PING_AFTER_S = 1.0
_CLIENT_GRACE_S = 5.0


class Timings(Protocol):
    """Receives how long the database takes, in seconds."""

    def took(self, kind: str, seconds: float) -> None:
        """Record the duration of a transaction; `kind` is reading or writing."""
        return

    def waited(self, what: str, seconds: float) -> None:
        """Record a wait; `what` is connection or turn (of SQLite's one writer)."""
        return


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits the connections of one control plane to PostgreSQL, and its waits. SQLite ignores them."""

    pool_size: int = 10
    """Maximum number of connections."""
    free_connection_s: float = 10.0
    """Longest wait for a free connection of the pool."""
    connect_s: float = 5.0
    statement_s: float = 30.0
    lock_s: float = 10.0
    idle_in_transaction_s: float = 30.0
    """The server ends a transaction that is idle for so long: a control plane that hangs must release its locks."""


def async_engine(url: str, limits: Limits, timings: Timings) -> AsyncEngine:
    """Return the engine for a URL with a driver, which raises our own errors."""
    if url.startswith("sqlite"):
        engine = create_async_engine(url, connect_args={"factory": _SQLiteConnection})
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
                # Longer than the server's own timeout: this one is for a server that does not answer at all.
                "command_timeout": limits.statement_s + _CLIENT_GRACE_S,
                "server_settings": {
                    "application_name": "fgd",
                    "statement_timeout": _ms(limits.statement_s),
                    "lock_timeout": _ms(limits.lock_s),
                    "idle_in_transaction_session_timeout": _ms(limits.idle_in_transaction_s),
                },
            },
        )
        _ping_idle_connections(engine.sync_engine)
    translate_errors(engine)
    return engine


def blocking_writer(engine: AsyncEngine) -> Engine:
    """Return a blocking engine for the same SQLite file, whose transactions begin as a writer's."""
    blocking = create_engine(engine.url.set(drivername="sqlite"), execution_options={_WRITES: True})
    prepare_sqlite(blocking)
    translate_errors(blocking)
    return blocking


def async_writer(engine: AsyncEngine) -> AsyncEngine:
    """Return the same engine, but its transactions begin as a writer's."""
    return engine.execution_options(**{_WRITES: True})


def prepare_sqlite(engine: Engine, *, foreign_keys: bool = True, busy_timeout_s: float = 10.0) -> None:
    """Configure each new connection, and begin transactions here instead of in the driver.

    Args:
        foreign_keys: off for migrations, which rebuild tables and must not cascade.
    """

    def on_connect(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        # First, because the next statement may already have to wait for a lock.
        cursor.execute(f"PRAGMA busy_timeout = {round(busy_timeout_s * 1000)}")
        cursor.execute("PRAGMA journal_mode = WAL")
        # FULL: an acknowledged batch must survive a power failure, because the run then deletes it from its outbox.
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute(f"PRAGMA foreign_keys = {'ON' if foreign_keys else 'OFF'}")
        cursor.close()

    def on_begin(connection: Connection) -> None:
        # A reader that becomes a writer fails at once if another writer committed meanwhile; so a writer says so first.
        is_writer = connection.get_execution_options().get(_WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if is_writer else "BEGIN")

    event.listen(engine, "connect", on_connect)
    event.listen(engine, "begin", on_begin)


async def connect_to_postgresql(*args: Any, **options: Any) -> asyncpg.Connection:
    """Connect with asyncpg and raise our own errors; SQLAlchemy does not translate errors of a connect."""
    try:
        return await asyncpg.connect(*args, **options)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as cause:
        known = from_database(cause, is_disconnected=True)
        raise known or cause from cause


def translate_errors(engine: AsyncEngine | Engine) -> None:
    """Raise errors of the database (unreachable, busy, full) as our own errors."""

    def on_error(context: ExceptionContext) -> None:
        error = context.original_exception
        # A cancelled task loses its connection as well, which is not an error of the database.
        if not isinstance(error, Exception):
            return
        known = from_database(error, is_disconnected=context.is_disconnect)
        if known is not None:
            raise known from error

    event.listen(engine.sync_engine if isinstance(engine, AsyncEngine) else engine, "handle_error", on_error)


class _SQLiteConnection(sqlite3.Connection):
    """Rolls back when it is closed.

    A cancelled task closes its connection, but its exception still holds a statement; SQLite then waits with the close,
    and with the end of the transaction, until that is collected. Until then every other writer would find it locked.
    """

    def close(self) -> None:
        try:
            if self.in_transaction:
                self.rollback()
        finally:
            super().close()


def _timed_pool(timings: Timings) -> type[Pool]:
    """Return a pool class that measures the wait for a connection. A class: a disposed pool creates its successor."""

    class TimedPool(AsyncAdaptedQueuePool):
        def _do_get(self) -> ConnectionPoolEntry:
            began_s = time.perf_counter()
            try:
                return super()._do_get()
            finally:
                timings.waited("connection", time.perf_counter() - began_s)

    return TimedPool


def _ping_idle_connections(engine: Engine) -> None:
    """Check an idle connection before its next use, so that a restart of the database causes no error.

    Connections used less than a second ago are not checked: asyncpg takes three round trips for it, as many as some
    whole transactions.
    """

    def on_checkin(_: object, record: ConnectionPoolEntry) -> None:
        record.info[_IDLE_SINCE_S] = time.monotonic()

    def on_checkout(connection: DBAPIConnection, record: ConnectionPoolEntry, _: object) -> None:
        idle_since_s = record.info.get(_IDLE_SINCE_S)
        if idle_since_s is None or time.monotonic() - idle_since_s < _PING_AFTER_S:
            return
        try:
            engine.dialect.do_ping(connection)
        except (engine.dialect.loaded_dbapi.Error, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            # The pool then opens a new connection.
            raise DisconnectionError from error

    event.listen(engine, "checkin", on_checkin)
    event.listen(engine, "checkout", on_checkout)


def _ms(seconds: float) -> str:
    return str(round(seconds * 1000))
