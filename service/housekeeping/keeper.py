"""Housekeeping in the server: once a day by itself, and whenever an admin asks; one control plane at a time."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from fgd_core.errors import ConflictError, FgdError
from fgd_core.spec.housekeeping import HousekeepingView
from service.clock import Clock
from service.housekeeping.sweep import Sweep
from service.settings import Settings
from service.storage.base import Storage
from service.store import leases
from service.store.leases import Lease, StaleLeaseError
from service.store.session import Database

log = structlog.get_logger(__name__)

_SWEEPING = "housekeeping"
_TTL_S = 120.0
"""How long one that died keeps others from sweeping; a step takes a second or two."""
_DONE = "housekeeping-done"
"""Never let go of after a round: until it expires, the next round is not due, whoever has made the last one."""
_ROUND_S = 30.0
"""What one request, or one turn of the server's own, takes at most."""
_LOOK_S = 300.0
_SETTLING_S = 60.0
"""After a start, the server has other things to do."""


class SweepingError(ConflictError):
    code = "sweeping"
    retryable = True


class Housekeeper:
    def __init__(self, database: Database, storage: Storage, settings: Settings, clock: Clock) -> None:
        self._database = database
        self._storage = storage
        self._settings = settings
        self._clock = clock
        self._holder = secrets.token_hex(8)
        self._turn = asyncio.Lock()

    async def look(self) -> HousekeepingView:
        """What a round would remove."""
        sweep = Sweep(self._database, self._storage, self._settings.retention, self._clock(), writing=None)
        return await sweep.run()

    async def sweep(self, *, max_s: float = _ROUND_S) -> HousekeepingView:
        """Remove what is due, as far as the time goes.

        Raises:
            SweepingError: it is being done already, here or by another control plane.
        """
        if self._turn.locked():
            raise _busy()
        async with self._turn:
            lease = await self._acquire(_SWEEPING, self._holder, _TTL_S)
            if lease is None:
                raise _busy()
            try:
                sweep = Sweep(
                    self._database,
                    self._storage,
                    self._settings.retention,
                    self._clock(),
                    writing=self._writing,
                    max_s=max_s,
                )
                return await sweep.run()
            finally:
                await self._release(lease)

    async def run(self) -> None:
        """Sweep once in `every_hours` until cancelled."""
        every_hours = self._settings.retention.every_hours
        if every_hours is None:
            return
        await asyncio.sleep(_SETTLING_S)
        while True:
            await self.sweep_if_due()
            await asyncio.sleep(min(_LOOK_S, every_hours * 3600))

    async def sweep_if_due(self) -> bool:
        """Sweep, unless a control plane has done so within `every_hours`; whether it was done. Errors are logged."""
        every_s = (self._settings.retention.every_hours or 24.0) * 3600
        try:
            # A new name each time, so that it is not ours to keep either.
            done = await self._acquire(_DONE, secrets.token_hex(8), every_s)
            if done is None:
                return False
            is_complete = False
            try:
                while not is_complete:
                    view = await self.sweep()
                    is_complete = view.is_complete
                    log.info(
                        "housekeeping_done" if is_complete else "housekeeping_goes_on",
                        num_items=view.num_items,
                        num_rows=view.num_rows,
                        size_bytes=view.size_bytes,
                    )
            finally:
                if not is_complete:
                    await self._release(done)
        except FgdError as error:
            log.warning("housekeeping_failed", error=str(error))
            return False
        except Exception:
            log.exception("housekeeping_failed")
            return False
        return True

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[AsyncSession]:
        """A transaction that is committed only if the lease is still, or again, ours alone."""
        async with self._database.writing() as session:
            if await leases.acquire(session, _SWEEPING, self._holder, ttl_s=_TTL_S, now=self._clock()) is None:
                raise StaleLeaseError("another control plane has begun to clean up", holder=self._holder)
            yield session

    async def _acquire(self, name: str, holder: str, ttl_s: float) -> Lease | None:
        async with self._database.writing() as session:
            return await leases.acquire(session, name, holder, ttl_s=ttl_s, now=self._clock())

    async def _release(self, lease: Lease) -> None:
        async with self._database.writing() as session:
            await leases.release(session, lease, self._clock())


def _busy() -> SweepingError:
    return SweepingError("a control plane is cleaning up already; try again in a moment")
