"""Rights that one of several control planes has at a time; those of one that died expire."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from fgd_core.errors import ConflictError
from service.store.tables import Lease as _Row

DISPATCHER = "dispatcher"


class StaleLeaseError(ConflictError):
    """Another holder has come: nothing may be written any more."""

    code = "stale_lease"


@dataclass(frozen=True)
class Lease:
    name: str
    holder: str
    fencing_token: int


async def acquire(session: AsyncSession, name: str, holder: str, *, ttl_s: float, now: datetime) -> Lease | None:
    """Take, or keep, a lease for `ttl_s` from now; None while somebody else has it."""
    row = await session.scalar(select(_Row).where(_Row.name == name).with_for_update())
    expires_at = now + timedelta(seconds=ttl_s)
    if row is None:
        try:
            async with session.begin_nested():
                await session.execute(
                    insert(_Row).values(name=name, holder=holder, fencing_token=1, expires_at=expires_at)
                )
        except IntegrityError:
            return None  # Somebody else made it in this very moment.
        return Lease(name, holder, 1)
    if row.holder != holder and row.expires_at > now:
        return None
    token = row.fencing_token if row.holder == holder else row.fencing_token + 1
    await session.execute(
        update(_Row).where(_Row.name == name).values(holder=holder, fencing_token=token, expires_at=expires_at)
    )
    return Lease(name, holder, token)


async def release(session: AsyncSession, lease: Lease, now: datetime) -> None:
    """Let go at once, so that a successor need not wait for the lease to expire."""
    await session.execute(
        update(_Row).where(_Row.name == lease.name, _Row.fencing_token == lease.fencing_token).values(expires_at=now)
    )
