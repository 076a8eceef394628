"""Runs housekeeping passes in the server: once a day, and on request of an admin. Only one control plane at a time."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from fgd_core.errors import ConflictError
from fgd_core.spec.housekeeping import HousekeepingView
from service.clock import Clock
from service.housekeeping.retention_pass import RetentionPass, Writing
from service.settings import Settings
from service.storage.base import Storage
from service.store import job_counts, leases
from service.store.leases import Lease, StaleLeaseError
from service.store.session import Database

log = structlog.get_logger(__name__)

_PASS = "housekeeping"
_TTL_S = 120.0
"""Lifetime of the lease. If its holder dies, the other control planes wait this long; one step takes 1 to 2 s."""
_PASS_DONE = "housekeeping-done"
"""This lease is not released after a complete pass: the next pass is due, in any control plane, when it expires."""
_PASS_S = 30.0
"""Longest duration of one pass, whether a request or the server starts it."""
CHECK_S = 300.0
"""Time between two checks whether a pass is due."""
STARTUP_DELAY_S = 60.0
"""Delay of the first check, because a starting server is busy."""


class PassRunningError(ConflictError):
    """A control plane is running a pass at this moment."""

    code = "sweeping"
    retryable = True


class HousekeepingTask:
    """Runs and previews housekeeping passes."""

    def __init__(self, database: Database, storage: Storage, settings: Settings, clock: Clock) -> None:
        self._database = database
        self._storage = storage
        self._settings = settings
        self._clock = clock
        self._holder = secrets.token_hex(8)
        self._turn = asyncio.Lock()

    async def preview(self) -> HousekeepingView:
        """Return what a pass would remove; removes nothing."""
        return await self._new_pass(None).run()

    async def run_pass(self, *, max_s: float = _PASS_S) -> HousekeepingView:
        """Remove what is due, for at most `max_s` seconds.

        Raises:
            PassRunningError: this or another control plane is already running a pass.
        """
        if self._turn.locked():
            raise _busy()
        async with self._turn:
            lease = await self._acquire(_PASS, self._holder, _TTL_S)
            if lease is None:
                raise _busy()
            try:
                view = await self._new_pass(self._writing, max_s).run()
                async with self._writing() as session:
                    await job_counts.merge_shards(session)
                return view
            finally:
                await self._release(lease)

    def _new_pass(self, writing: Writing | None, max_s: float | None = None) -> RetentionPass:
        policy = self._settings.retention
        return RetentionPass(self._database, self._storage, policy, self._clock(), writing=writing, max_s=max_s)

    async def run_pass_if_due(self) -> bool:
        """Run passes until nothing is left to remove, unless a control plane did so within the last `every_hours`.

        Returns:
            True if the passes ran to the end.
        Raises:
            FgdError: a pass failed; the next pass is due at once.
        """
        every_s = (self._settings.retention.every_hours or 24.0) * 3600
        # A new holder name each time: otherwise this control plane could renew its own lease.
        done = await self._acquire(_PASS_DONE, secrets.token_hex(8), every_s)
        if done is None:
            return False
        is_complete = False
        try:
            while not is_complete:
                view = await self.run_pass()
                is_complete = view.is_complete
                log.info(
                    "housekeeping_done" if is_complete else "housekeeping_continues",
                    num_items=view.num_items,
                    num_rows=view.num_rows,
                    size_bytes=view.size_bytes,
                )
        finally:
            if not is_complete:
                await self._release(done)
        return True

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[AsyncSession]:
        """Open a transaction that commits only if this control plane holds the lease."""
        async with self._database.writing() as session:
            if await leases.acquire(session, _PASS, self._holder, ttl_s=_TTL_S, now=self._clock()) is None:
                raise StaleLeaseError("another control plane started a housekeeping pass", holder=self._holder)
            yield session

    async def _acquire(self, name: str, holder: str, ttl_s: float) -> Lease | None:
        async with self._database.writing() as session:
            return await leases.acquire(session, name, holder, ttl_s=ttl_s, now=self._clock())

    async def _release(self, lease: Lease) -> None:
        async with self._database.writing() as session:
            await leases.release(session, lease, self._clock())


def _busy() -> PassRunningError:
    return PassRunningError("a housekeeping pass is already running; try again in a moment")
