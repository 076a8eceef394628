"""Many small transactions as one, on a database that has a single writer.

SQLite flushes to disk at each commit and lets one writer in at a time; and through an asynchronous driver each
statement is several changes of thread. So whoever has something small to write leaves it here: while one transaction is
under way the next ones gather, and then share a thread, a transaction and a commit. An answer comes only after it.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from contextvars import Context, copy_context
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from fgd_core.errors import FgdError

T = TypeVar("T")
Work = Callable[[AsyncSession], Coroutine[Any, Any, T]]

_MAX_TOGETHER = 32


@dataclass(frozen=True)
class _Waiting:
    work: Work[Any]
    done: asyncio.Future[Any]
    context: Context
    """Of the caller: what its log lines are about."""


@dataclass(frozen=True)
class _Done:
    results: list[Any]
    info: dict[Any, Any]
    """What the session was told, for who acts on it after the commit."""


class SharedCommits:
    """
    Args:
        engine: connects in the thread that uses it; its transactions begin as a writer's.
        turn: held while a transaction is under way, for this process may have other writers.
        committed: called with the session's `info` after each commit.
    """

    def __init__(
        self, engine: Engine, turn: AbstractAsyncContextManager[Any], committed: Callable[[dict[Any, Any]], None]
    ) -> None:
        self._engine = engine
        self._turn = turn
        self._committed = committed
        # One, so that the connection is always used by the thread that made it.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="fgd-writer")
        self._waiting: list[_Waiting] = []
        self._task: asyncio.Task[None] | None = None

    async def run(self, work: Work[T]) -> T:
        """Do `work`, which may await nothing but its session, in a transaction with what others do.

        It is done anew in one of its own where that one fails, unless the database itself is what is in the way.
        """
        waiting: _Waiting = _Waiting(work, asyncio.get_running_loop().create_future(), copy_context())
        self._waiting.append(waiting)
        if self._task is None:
            self._task = asyncio.create_task(self._write_all(), name="shared-commits")
        result: T = await waiting.done
        return result

    async def close(self) -> None:
        if self._task is not None:
            await self._task
        await asyncio.get_running_loop().run_in_executor(self._thread, self._engine.dispose)
        self._thread.shutdown()

    async def _write_all(self) -> None:
        while self._waiting:
            async with self._turn:
                # What came while we waited for our turn goes along.
                some, self._waiting = self._waiting[:_MAX_TOGETHER], self._waiting[_MAX_TOGETHER:]
                await self._write(some)
        self._task = None

    async def _write(self, some: Sequence[_Waiting]) -> None:
        try:
            loop = asyncio.get_running_loop()
            done = await loop.run_in_executor(self._thread, self._transaction, some)
        except Exception as error:
            is_for_all = isinstance(error, FgdError) and error.retryable
            if len(some) == 1 or is_for_all:
                for waiting in some:
                    _settle(waiting, error=error)
            else:
                # One of them was refused or broke. It must not cost the others anything, so each is alone now.
                for waiting in some:
                    await self._write([waiting])
            return
        self._committed(done.info)
        for waiting, result in zip(some, done.results, strict=True):
            _settle(waiting, result=result)

    def _transaction(self, some: Sequence[_Waiting]) -> _Done:
        with Session(self._engine, expire_on_commit=False) as session, session.begin():
            at_once = cast(AsyncSession, _AtOnce(session))
            results = [waiting.context.run(_finish, waiting.work(at_once)) for waiting in some]
        return _Done(results, session.info)


class _AtOnce:
    """What our SQL uses of an `AsyncSession`, over a session that is done before it could be awaited."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.info = session.info
        self.get_bind = session.get_bind

    async def execute(self, *arguments: Any, **options: Any) -> Any:
        return self._session.execute(*arguments, **options)

    async def scalar(self, *arguments: Any, **options: Any) -> Any:
        return self._session.scalar(*arguments, **options)

    async def scalars(self, *arguments: Any, **options: Any) -> Any:
        return self._session.scalars(*arguments, **options)

    async def get(self, *arguments: Any, **options: Any) -> Any:
        return self._session.get(*arguments, **options)


def _finish(coroutine: Coroutine[Any, Any, T]) -> T:
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    coroutine.close()
    raise AssertionError("work that shares a commit awaited something other than its session")


def _settle(waiting: _Waiting, *, result: object = None, error: BaseException | None = None) -> None:
    # Whoever hung up does not wait any more.
    if waiting.done.done():
        return
    if error is not None:
        waiting.done.set_exception(error)
    else:
        waiting.done.set_result(result)
