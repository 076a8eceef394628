"""SQLite's writer in a thread of its own: one change of thread for a transaction.

Through an asynchronous driver it is several for each statement, which takes longer than the statements themselves.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, TypeVar, cast

from sqlalchemy import Connection, Engine
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from service.store.group_commit import Work

T = TypeVar("T")


class WriterThread:
    """A `Transact`.

    Args:
        engine: connects in the thread that uses it; its transactions begin as a writer's.
        turn: held while a transaction is under way, for this process may have other writers.
        committed: called with the session's `info` after each commit, in the thread of the loop.
        timing: entered while a transaction is under way.
    """

    def __init__(
        self,
        engine: Engine,
        turn: AbstractAsyncContextManager[Any],
        committed: Callable[[dict[Any, Any]], None],
        timing: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._engine = engine
        self._turn = turn
        self._committed = committed
        self._timing = timing
        # One, so that the connection is always used by the thread that made it.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="fgd-writer")

    async def __call__(self, works: Sequence[Work[Any]]) -> list[Any]:
        async with self._turn:
            loop = asyncio.get_running_loop()
            with self._timing():
                results, info = await loop.run_in_executor(self._thread, self._transaction, works)
        self._committed(info)
        return results

    async def close(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._engine.dispose)
        self._thread.shutdown()

    def _transaction(self, works: Sequence[Work[Any]]) -> tuple[list[Any], dict[Any, Any]]:
        with Session(self._engine, expire_on_commit=False) as session, session.begin():
            at_once = cast(AsyncSession, _AtOnce(session))
            results = [_finish(work(at_once)) for work in works]
        return results, session.info


class _AtOnce:
    """What our SQL uses of an `AsyncSession`, over a session that is done before it could be awaited."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.info = session.info
        self.get_bind = session.get_bind

    async def connection(self) -> "_AtOnceConnection":
        return _AtOnceConnection(self._session.connection())

    async def execute(self, *arguments: Any, **options: Any) -> Any:
        return self._session.execute(*arguments, **options)

    async def scalar(self, *arguments: Any, **options: Any) -> Any:
        return self._session.scalar(*arguments, **options)

    async def scalars(self, *arguments: Any, **options: Any) -> Any:
        return self._session.scalars(*arguments, **options)

    async def get(self, *arguments: Any, **options: Any) -> Any:
        return self._session.get(*arguments, **options)


class _AtOnceConnection:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def execute(self, *arguments: Any, **options: Any) -> Any:
        return self._connection.execute(*arguments, **options)

    async def scalar(self, *arguments: Any, **options: Any) -> Any:
        return self._connection.scalar(*arguments, **options)


def _finish(coroutine: Coroutine[Any, Any, T]) -> T:
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    coroutine.close()
    raise AssertionError("work that shares a commit awaited something other than its session")
