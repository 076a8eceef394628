"""Leases: each belongs to one control plane at a time, and expires if its holder dies."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import case, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from fgd_core.errors import ConflictError
from service.store.statements import shared_moment
from service.store.tables import Lease as _Row

DISPATCHER = "dispatcher"


class StaleLeaseError(ConflictError):
    """Another control plane holds the lease: this one may not write any more."""

    code = "stale_lease"


@dataclass(frozen=True)
class Lease:
    """A lease that this control plane holds."""

    name: str
    holder: str
    fencing_token: int


async def acquire(
    session: AsyncSession, name: str, holder: str, *, ttl_s: float, now: datetime, former: str | None = None
) -> Lease | None:
    """Acquire or renew a lease for `ttl_s` seconds.

    Args:
        holder: a random name that no other control plane has.
        now: used for SQLite only. With PostgreSQL, the control planes run on several machines whose clocks differ, so
            the time of the database server counts.
        former: a holder that is certainly dead, so that its lease need not expire first.
    Returns:
        The lease; None while another control plane holds it.
    """
    is_free = or_(_Row.holder.in_([holder, former or holder]), _Row.expires_at <= shared_moment(session, now))
    token = await session.scalar(
        update(_Row)
        .where(_Row.name == name, is_free)
        .values(
            holder=holder,
            fencing_token=case((_Row.holder == holder, _Row.fencing_token), else_=_Row.fencing_token + 1),
            expires_at=shared_moment(session, now, in_s=ttl_s),
        )
        .returning(_Row.fencing_token)
        .execution_options(synchronize_session=False)
    )
    if token is not None:
        return Lease(name, holder, token)
    if await session.scalar(select(_Row.name).where(_Row.name == name)) is not None:
        return None
    expires_at = shared_moment(session, now, in_s=ttl_s)
    try:
        async with session.begin_nested():
            row = {"name": name, "holder": holder, "fencing_token": 1, "expires_at": expires_at}
            await session.execute(insert(_Row).values(row))
    except IntegrityError:
        return None  # Another control plane inserted the row at the same time.
    return Lease(name, holder, 1)


async def release(session: AsyncSession, lease: Lease, now: datetime) -> None:
    """Expire the lease now, so that a successor need not wait."""
    mine = (_Row.name == lease.name, _Row.holder == lease.holder, _Row.fencing_token == lease.fencing_token)
    await session.execute(update(_Row).where(*mine).values(expires_at=shared_moment(session, now)))
