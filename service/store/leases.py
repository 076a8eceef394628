"""Leases: each belongs to one control plane at a time, and expires if its holder dies."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache

from sqlalchemy import Executable, bindparam, case, or_, update
from sqlalchemy.ext.asyncio import AsyncSession

from fgd_core.errors import ConflictError
from service.store.statements import core, dialect_of, inserting, shared_now, shared_until
from service.store.tables import Lease as _Row
from service.store.tables import table_of
from service.store.write_session import WriteSession

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
    session: WriteSession, name: str, holder: str, *, ttl_s: float, now: datetime, former: str | None = None
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
    parameters = {"lease": name, "by": holder, "former": former or holder} | _moments(now, ttl_s)
    token = await (await core(session)).scalar(_acquisition(dialect_of(session)), parameters)
    return Lease(name, holder, token) if token is not None else None


async def release(session: AsyncSession, lease: Lease, now: datetime) -> None:
    """Expire the lease now, so that a successor need not wait."""
    mine = (_Row.name == lease.name, _Row.holder == lease.holder, _Row.fencing_token == lease.fencing_token)
    expired = update(_Row).where(*mine).values(expires_at=shared_now(dialect_of(session)))
    await session.execute(expired, _moments(now, 0.0))


# Cached: the holder renews its lease each second and at each write, and building the statement takes longer than that.
@cache
def _acquisition(dialect: str) -> Executable:
    """Insert the lease, renew it, or take it over, and return its token; returns no row while it belongs to another."""
    held, now = table_of(_Row).c, shared_now(dialect)
    first = {
        "name": bindparam("lease"),
        "holder": bindparam("by"),
        "fencing_token": 1,
        "expires_at": shared_until(dialect),
    }
    inserted = inserting(dialect, table_of(_Row)).values(first)
    new = inserted.excluded
    return inserted.on_conflict_do_update(
        index_elements=[held.name],
        set_={
            "holder": new.holder,
            "fencing_token": case((held.holder == new.holder, held.fencing_token), else_=held.fencing_token + 1),
            "expires_at": new.expires_at,
        },
        where=or_(held.holder.in_([new.holder, bindparam("former")]), held.expires_at <= now),
    ).returning(held.fencing_token)


def _moments(now: datetime, ttl_s: float) -> dict[str, object]:
    """Return the parameters of `shared_now` and `shared_until`."""
    ttl = timedelta(seconds=ttl_s)
    return {"now": now, "until": now + ttl, "ttl": ttl}
