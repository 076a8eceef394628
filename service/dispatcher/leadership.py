"""Decides which of several control planes on one database dispatches: the holder of a lease."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from service.clock import Clock
from service.dispatcher.holder import Holder
from service.store import leases
from service.store.leases import Lease, StaleLeaseError
from service.store.session import Database
from service.store.write_session import WriteSession

log = structlog.get_logger(__name__)


class Leadership:
    """Holds the dispatcher's lease, renews it, and guards every write with it.

    Args:
        holder: this control plane's name as a holder of leases.
        ttl_s: seconds after which a lease expires that its holder does not renew.
    """

    def __init__(self, database: Database, clock: Clock, holder: Holder, *, ttl_s: float) -> None:
        self._database = database
        self.clock = clock
        self._holder = holder
        self._ttl_s = ttl_s
        self.lease: Lease | None = None

    async def acquire(self) -> bool:
        """Take or renew the lease. Returns True if this control plane holds it now."""
        held_before = self.lease
        self.lease = await self._database.write_together(self._acquire)
        if self.lease != held_before:
            log.info("dispatching" if self.lease is not None else "standing_by", holder=self._holder.name)
        return self.lease is not None

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncSession]:
        """Open a transaction that commits only if this control plane still holds the lease.

        Raises:
            StaleLeaseError: another control plane took the lease.
            DatabaseError: the database is unreachable or busy.
        """
        assert self.lease is not None
        async with self._database.writing() as session:
            # Renewed and checked in one statement: a tick may take longer than the lease lives.
            if await self._acquire(session) != self.lease:
                raise StaleLeaseError("another control plane dispatches now", holder=self._holder.name)
            yield session

    def resign(self) -> None:
        """Note that another control plane took the lease."""
        self.lease = None

    async def release(self) -> None:
        """Give the lease back, so that another control plane can dispatch at once."""
        if self.lease is not None:
            async with self._database.writing() as session:
                await leases.release(session, self.lease, self.clock())
            self.lease = None

    async def _acquire(self, session: WriteSession) -> Lease | None:
        lease = await leases.acquire(
            session,
            leases.DISPATCHER,
            self._holder.name,
            ttl_s=self._ttl_s,
            now=self.clock(),
            former=self._holder.former,
        )
        if lease is not None:
            # The former holder's lease may be taken over only once: after this, no holder has the name.
            self._holder = Holder(self._holder.name)
        return lease
