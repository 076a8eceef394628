"""Runs many small transactions as one (group commit).

Work that arrives while a transaction is under way waits, and shares the next transaction and its commit. Each caller
gets its result only after the commit.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from fgd_core.errors import FgdError
from service.store.write_session import WriteSession

T = TypeVar("T")
Work: TypeAlias = Callable[[WriteSession], Coroutine[object, None, T]]
Transact: TypeAlias = Callable[[Sequence[Work[object]]], Awaitable[list[object]]]
"""Runs all work in one transaction, in order, and returns the results after the commit."""

_MAX_TOGETHER = 32


@dataclass(frozen=True)
class _Waiting:
    work: Work[object]
    done: asyncio.Future[Any]


class GroupCommit:
    """Collects work and runs it in shared transactions."""

    def __init__(self, transact: Transact) -> None:
        self._transact = transact
        self._waiting: list[_Waiting] = []
        self._task: asyncio.Task[None] | None = None

    async def run(self, work: Work[T]) -> T:
        """Run `work` in a shared transaction and return its result. It may await only methods of its session.

        If the shared transaction fails, `work` runs again in a separate transaction, unless the error concerns the
        database itself.
        """
        waiting = _Waiting(work, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._task is None:
            self._task = asyncio.create_task(self._write_all(), name="group-commit")
        result: T = await waiting.done
        return result

    async def close(self) -> None:
        """Wait until all work is committed."""
        if self._task is not None:
            await self._task

    async def _write_all(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:_MAX_TOGETHER], self._waiting[_MAX_TOGETHER:]
            await self._write(batch)
        self._task = None

    async def _write(self, batch: Sequence[_Waiting]) -> None:
        try:
            results = await self._transact([waiting.work for waiting in batch])
        except Exception as error:
            # Whatever fails, each caller must get a result or an error; otherwise it waits forever.
            is_for_all = isinstance(error, FgdError) and error.retryable
            if len(batch) == 1 or is_for_all:
                for waiting in batch:
                    _settle(waiting, error=error)
            else:
                # One work failed. It must not fail the others, so each now runs alone.
                for waiting in batch:
                    await self._write([waiting])
            return
        for waiting, result in zip(batch, results, strict=True):
            _settle(waiting, result=result)


def _settle(waiting: _Waiting, *, result: object = None, error: BaseException | None = None) -> None:
    # A cancelled caller no longer waits.
    if waiting.done.done():
        return
    if error is not None:
        waiting.done.set_exception(error)
    else:
        waiting.done.set_result(result)
