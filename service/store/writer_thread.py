"""Runs SQLite's writing transactions in a thread: the event loop switches threads once for a whole transaction.

An asynchronous driver switches several times for each statement, which takes longer than the statement itself.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.orm import Session

from service.store.group_commit import Work
from service.store.write_session import Info

T = TypeVar("T")


class WriterThread:
    """Runs work in blocking transactions of one thread; an instance is a `Transact`.

    Args:
        engine: opens its connection in the thread that uses it; its transactions begin as a writer's.
        turn: held during each transaction, because this process may have other writers.
        committed: called in the event loop's thread after each commit, with the session's `info`.
        timing: entered during each transaction.
    """

    def __init__(
        self,
        engine: Engine,
        turn: AbstractAsyncContextManager[object],
        committed: Callable[[Info], None],
        timing: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._engine = engine
        self._turn = turn
        self._committed = committed
        self._timing = timing
        # One thread, because a connection may be used only in the thread that opened it.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="fgd-writer")

    async def __call__(self, works: Sequence[Work[object]]) -> list[object]:
        async with self._turn:
            loop = asyncio.get_running_loop()
            with self._timing():
                results, info = await loop.run_in_executor(self._thread, self._transaction, works)
        self._committed(info)
        return results

    async def close(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._engine.dispose)
        self._thread.shutdown()

    def _transaction(self, works: Sequence[Work[object]]) -> tuple[list[object], Info]:
        with Session(self._engine, expire_on_commit=False) as session, session.begin():
            blocking = _BlockingSession(session)
            results = [_finish(work(blocking)) for work in works]
        return results, session.info


class _BlockingSession:
    """Is a `WriteSession` over a blocking session; its coroutines never suspend."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.info: Info = session.info
        self.get_bind = session.get_bind
        self.execute = _as_coroutine(session.execute)
        self.scalar = _as_coroutine(session.scalar)
        self.scalars = _as_coroutine(session.scalars)
        self.get = _as_coroutine(session.get)

    async def connection(self) -> "_BlockingConnection":
        return _BlockingConnection(self._session.connection())


class _BlockingConnection:
    def __init__(self, connection: Connection) -> None:
        self.execute = _as_coroutine(connection.execute)
        self.scalar = _as_coroutine(connection.scalar)


def _as_coroutine(call: Callable[..., Any]) -> Callable[..., Coroutine[object, None, Any]]:
    async def run(*arguments: object, **options: object) -> Any:
        return call(*arguments, **options)

    return run


def _finish(coroutine: Coroutine[object, None, T]) -> T:
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    coroutine.close()
    raise AssertionError("work that shares a commit awaited something other than its session")
