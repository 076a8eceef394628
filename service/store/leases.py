"""Rights that one of several control planes has at a time; those of one that died expire."""

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
    """Another holder has come: nothing may be written any more."""

    code = "stale_lease"


@dataclass(frozen=True)
class Lease:
    name: str
    holder: str
    fencing_token: int


async def acquire(
    session: AsyncSession, name: str, holder: str, *, ttl_s: float, now: datetime, former: str | None = None
) -> Lease | None:
    """Take, or keep, a lease for `ttl_s` from now; None while somebody else has it.

    Args:
        holder: random, and never another's.
        now: counts for SQLite only. A PostgreSQL's control planes are on several machines, whose clocks differ, so the
            database's own clock dates the lease.
        former: a holder that is certain to be gone, whose lease need not expire first.
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
        return None  # Somebody else made it in this very moment.
    return Lease(name, holder, 1)


async def release(session: AsyncSession, lease: Lease, now: datetime) -> None:
    """Let go at once, so that a successor need not wait for the lease to expire."""
    mine = (_Row.name == lease.name, _Row.holder == lease.holder, _Row.fencing_token == lease.fencing_token)
    await session.execute(update(_Row).where(*mine).values(expires_at=shared_moment(session, now)))
