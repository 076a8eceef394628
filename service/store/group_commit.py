"""Many small transactions as one: those that come while one is under way gather, and share the next one's commit.

An answer comes only after the commit.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from sqlalchemy.ext.asyncio import AsyncSession

from fgd_core.errors import FgdError

T = TypeVar("T")
Work: TypeAlias = Callable[[AsyncSession], Coroutine[Any, Any, T]]
Transact: TypeAlias = Callable[[Sequence[Work[Any]]], Awaitable[list[Any]]]
"""Does all of it in one transaction, in order, and returns the results once they are committed."""

_MAX_TOGETHER = 32


@dataclass(frozen=True)
class _Waiting:
    work: Work[Any]
    done: asyncio.Future[Any]


class GroupCommit:
    def __init__(self, transact: Transact) -> None:
        self._transact = transact
        self._waiting: list[_Waiting] = []
        self._task: asyncio.Task[None] | None = None

    async def run(self, work: Work[T]) -> T:
        """Do `work`, which may await nothing but its session, in a transaction with what others do.

        It is done anew in one of its own where that one fails, unless the database itself is what is in the way.
        """
        waiting = _Waiting(work, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._task is None:
            self._task = asyncio.create_task(self._write_all(), name="shared-commits")
        result: T = await waiting.done
        return result

    async def close(self) -> None:
        if self._task is not None:
            await self._task

    async def _write_all(self) -> None:
        while self._waiting:
            some, self._waiting = self._waiting[:_MAX_TOGETHER], self._waiting[_MAX_TOGETHER:]
            await self._write(some)
        self._task = None

    async def _write(self, some: Sequence[_Waiting]) -> None:
        try:
            results = await self._transact([waiting.work for waiting in some])
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
        for waiting, result in zip(some, results, strict=True):
            _settle(waiting, result=result)


def _settle(waiting: _Waiting, *, result: object = None, error: BaseException | None = None) -> None:
    # Whoever hung up does not wait any more.
    if waiting.done.done():
        return
    if error is not None:
        waiting.done.set_exception(error)
    else:
        waiting.done.set_result(result)
