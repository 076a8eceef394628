"""Runs one step for each of many runs, several at once; a run about which Ray does not answer delays no other run."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import TypeAlias, TypeVar

import structlog

from fgd_core.errors import ClusterError, StorageError
from fgd_core.retrying import RetryPolicy
from service.clock import Clock
from service.dispatcher.cluster import ClusterAwayError
from service.errors import DatabaseError
from service.store.leases import StaleLeaseError

AT_ONCE = 16
MAX_UNDER_WAY = 48
"""Number of unanswered runs above which the cluster itself counts as unreachable."""
PATIENCE_S = 3.0
"""Seconds that a pass waits for one run. The step itself continues until Ray answers or the request times out."""
_PAUSES = RetryPolicy(first_pause_s=1.0, longest_pause_s=60.0, max_tries=8)
"""After the last try a step continues with the longest pause. The steps themselves end what fails for long: `watching`
marks the run lost, `archiving` archives it without its log, `dashboard_cleanup` leaves it with Ray."""
_REMEMBERED_S = 600.0
"""Failures older than this are dropped: their run has ended."""

Item = TypeVar("Item")
_Stopping: TypeAlias = ClusterAwayError | StaleLeaseError | DatabaseError
"""After one of these, no further step begins in this pass."""

log = structlog.get_logger(__name__)


class FanOut:
    """Remembers between passes which steps are still running, and which pause after a failure.

    Args:
        patience_s: see `PATIENCE_S`.
    """

    def __init__(self, clock: Clock, *, patience_s: float = PATIENCE_S) -> None:
        self._clock = clock
        self._patience_s = patience_s
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._failures: dict[str, tuple[int, datetime]] = {}
        """Key -> (failures in a row, time from which the step may be tried again)."""

    async def each(self, items: Mapping[str, Item], act: Callable[[Item], Awaitable[None]]) -> None:
        """Act on the items in order, `AT_ONCE` at a time; skip those whose step is still running or pauses.

        Args:
            items: by a key that names the run and the step, and stays the same from pass to pass.
        Raises:
            ClusterAwayError, StaleLeaseError, DatabaseError: at once; the remaining steps do not begin.
            ClusterError, StorageError: the last one, after all steps.
            Exception: the first error that is a defect of ours, after all steps.
        """
        old = self._clock() - timedelta(seconds=_REMEMBERED_S)
        self._failures = {key: failed for key, failed in self._failures.items() if failed[1] > old}
        slots = asyncio.Semaphore(AT_ONCE)
        stop: list[Exception] = []
        errors: list[Exception] = []

        async def take(key: str, item: Item) -> None:
            async with slots:
                if stop or not self._may_begin(key):
                    return
                if len(self._under_way) >= MAX_UNDER_WAY:
                    stop.append(
                        ClusterAwayError("Ray answers no questions about its runs", waiting=len(self._under_way))
                    )
                    return
                error = await self._run(key, act(item))
                if error is not None:
                    (stop if isinstance(error, _Stopping) else errors).append(error)

        await asyncio.gather(*(take(key, item) for key, item in items.items()))
        for error in (*stop, *(each for each in errors if not isinstance(each, ClusterError | StorageError))):
            raise error
        if errors:
            raise errors[-1]

    async def close(self) -> None:
        """Cancel all steps that are running."""
        for task in tuple(self._under_way.values()):
            task.cancel()
        await asyncio.gather(*self._under_way.values(), return_exceptions=True)

    async def _run(self, key: str, step: Awaitable[None]) -> Exception | None:
        """Run a step for at most `patience_s`; returns its error. A slower step continues in the background."""
        task = asyncio.ensure_future(step)
        self._under_way[key] = task
        task.add_done_callback(lambda _: self._under_way.pop(key, None))
        try:
            done, _ = await asyncio.wait({task}, timeout=self._patience_s)
        except asyncio.CancelledError:
            task.cancel()
            raise
        if done:
            return self._record(key, task)
        task.add_done_callback(lambda ended: self._record_late(key, ended))
        return None

    def _may_begin(self, key: str) -> bool:
        _, not_before = self._failures.get(key, (0, None))
        return key not in self._under_way and (not_before is None or self._clock() >= not_before)

    def _record(self, key: str, task: asyncio.Future[None]) -> Exception | None:
        """Count a step's failure, or forget its earlier failures; returns its error."""
        if task.cancelled():
            return None
        error = task.exception()
        if error is None:
            self._failures.pop(key, None)
            return None
        if not isinstance(error, Exception):
            raise error
        if not isinstance(error, _Stopping | StorageError):
            number = self._failures.get(key, (0, None))[0] + 1
            pause_s = _PAUSES.pause_s(number) or _PAUSES.longest_pause_s
            self._failures[key] = (number, self._clock() + timedelta(seconds=pause_s))
        return error

    def _record_late(self, key: str, task: asyncio.Future[None]) -> None:
        """Log the error of a step that no pass waits for any more."""
        error = self._record(key, task)
        if error is not None:
            log.warning("late_step_failed", step=key, error=str(error))
