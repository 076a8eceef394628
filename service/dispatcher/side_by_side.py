"""Does one thing for each of many runs, several at once; a run that Ray does not answer about holds up no other."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import TypeVar

import structlog

from fgd_core.errors import ClusterError, StorageError
from service.clock import Clock
from service.dispatcher.cluster import ClusterAwayError
from service.errors import DatabaseError
from service.store.leases import StaleLeaseError

AT_ONCE = 16
MAX_UNDER_WAY = 48
"""Once so many runs go without an answer, it is the cluster that does not answer."""
PATIENCE_S = 3.0
"""How long a pass waits for one run. The step itself goes on until Ray answers, or the request ends."""
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
_REMEMBERED_S = 600.0
"""Of a run that is over nobody asks again."""

Item = TypeVar("Item")

log = structlog.get_logger(__name__)


class SideBySide:
    """Remembers between passes which runs are still under way, and which have to rest because their step failed."""

    def __init__(self, clock: Clock, *, patience_s: float = PATIENCE_S) -> None:
        self._clock = clock
        self._patience_s = patience_s
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._failures: dict[str, tuple[int, datetime]] = {}
        """Key -> (failures in a row, when the next try may be)."""

    async def each(self, items: Mapping[str, Item], act: Callable[[Item], Awaitable[None]]) -> None:
        """Act on the items in order, `AT_ONCE` at a time, without those whose step is under way or rests.

        Args:
            items: by a key that names the run and the step, and stays the same from pass to pass.
        Raises:
            ClusterAwayError, StaleLeaseError, DatabaseError: at once; steps that have not begun are left.
            ClusterError, StorageError: the last refusal, at the end.
            Exception: the first fault of our own, at the end.
        """
        old = self._clock() - timedelta(seconds=_REMEMBERED_S)
        self._failures = {key: failed for key, failed in self._failures.items() if failed[1] > old}
        slots = asyncio.Semaphore(AT_ONCE)
        stop: list[Exception] = []
        faults: list[Exception] = []

        async def take(key: str, item: Item) -> None:
            async with slots:
                if stop or not self._may_begin(key):
                    return
                if len(self._under_way) >= MAX_UNDER_WAY:
                    stop.append(
                        ClusterAwayError("Ray answers no questions about its runs", waiting=len(self._under_way))
                    )
                    return
                task = asyncio.ensure_future(act(item))
                self._under_way[key] = task
                task.add_done_callback(lambda _: self._under_way.pop(key, None))
                try:
                    done, _ = await asyncio.wait({task}, timeout=self._patience_s)
                except asyncio.CancelledError:
                    task.cancel()
                    raise
                if not done:
                    task.add_done_callback(lambda ended: self._note_late(key, ended))
                    return
                fault = self._note(key, task)
                if isinstance(fault, ClusterAwayError | StaleLeaseError | DatabaseError):
                    stop.append(fault)
                elif fault is not None:
                    faults.append(fault)

        await asyncio.gather(*(take(key, item) for key, item in items.items()))
        if stop:
            raise stop[0]
        for fault in faults:
            if not isinstance(fault, ClusterError | StorageError):
                raise fault
        if faults:
            raise faults[-1]

    async def close(self) -> None:
        for task in tuple(self._under_way.values()):
            task.cancel()
        await asyncio.gather(*self._under_way.values(), return_exceptions=True)

    def _may_begin(self, key: str) -> bool:
        _, not_before = self._failures.get(key, (0, None))
        return key not in self._under_way and (not_before is None or self._clock() >= not_before)

    def _note(self, key: str, task: asyncio.Future[None]) -> Exception | None:
        if task.cancelled():
            return None
        fault = task.exception()
        if fault is None:
            self._failures.pop(key, None)
            return None
        if not isinstance(fault, Exception):
            raise fault
        if not isinstance(fault, ClusterAwayError | StaleLeaseError | DatabaseError | StorageError):
            number = self._failures.get(key, (0, None))[0] + 1
            pause_s = min(FIRST_PAUSE_S * 2 ** (number - 1), LONGEST_PAUSE_S)
            self._failures[key] = (number, self._clock() + timedelta(seconds=pause_s))
        return fault

    def _note_late(self, key: str, task: asyncio.Future[None]) -> None:
        """Nobody waits for this step any more: what became of it is logged here."""
        fault = self._note(key, task)
        if fault is not None:
            log.warning("late_step_failed", step=key, error=str(fault))
