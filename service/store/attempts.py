"""Stores attempts (executions of a job on the cluster) and the last received sequence of each of their streams."""

import hmac
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import groupby

from sqlalchemy import Integer, bindparam, func, or_, select, update

from fgd_core.spec.events import EndCause
from fgd_core.spec.results import ErrorReport
from service.jobs.lifecycle import ON_CLUSTER
from service.store.statements import core, upsert
from service.store.tables import Attempt, AttemptStream, Job, table_of
from service.store.write_session import WriteSession


async def find(session: WriteSession, attempt_id: str) -> Attempt | None:
    """Return an attempt, read again from the database; None if it does not exist."""
    return await session.get(Attempt, attempt_id, populate_existing=True)


async def claim(session: WriteSession, attempt_id: str, secret_sha256: str) -> bool:
    """Record who claims the attempt's token, unless it is already claimed.

    Returns:
        True if the owner of this secret is the one who claimed it, now or earlier.
    """
    await session.execute(
        update(Attempt)
        .where(Attempt.id == attempt_id, Attempt.claimed_by_sha256.is_(None))
        .values(claimed_by_sha256=secret_sha256)
    )
    claimed_by = await session.scalar(select(Attempt.claimed_by_sha256).where(Attempt.id == attempt_id))
    return claimed_by is not None and hmac.compare_digest(claimed_by, secret_sha256)


async def of_job(session: WriteSession, job_id: str) -> list[Attempt]:
    """Return the attempts of a job, oldest first."""
    return list(await session.scalars(select(Attempt).where(Attempt.job_id == job_id).order_by(Attempt.number)))


async def of_jobs(session: WriteSession, job_ids: Sequence[str]) -> dict[str, list[Attempt]]:
    """Return the attempts of each job, oldest first; jobs without attempts are omitted."""
    query = select(Attempt).where(Attempt.job_id.in_(job_ids)).order_by(Attempt.job_id, Attempt.number)
    by_job = groupby(await session.scalars(query), key=lambda attempt: attempt.job_id)
    return {job_id: list(tried) for job_id, tried in by_job}


def ran_s(tried: Iterable[Attempt]) -> float:
    """Return the seconds that attempts ran; those that did not begin or still run are not counted."""
    return sum((each.ended_at - each.started_at).total_seconds() for each in tried if each.started_at and each.ended_at)


async def active(session: WriteSession) -> list[tuple[Job, Attempt]]:
    """Return the jobs that occupy resources of the cluster, each with its current attempt."""
    return [(job, attempt) for job, attempt in await session.execute(_ACTIVE)]


async def with_old_copies(session: WriteSession, before: datetime, *, at_most: int) -> list[Attempt]:
    """Return running attempts whose log was last copied before `before`: first those never copied, then the oldest."""
    return list(await session.scalars(_WITH_OLD_COPIES, {"before": before, "at_most": at_most}))


async def unarchived(session: WriteSession, now: datetime) -> list[Attempt]:
    """Return ended attempts whose driver log is not archived yet and whose next try is due."""
    return list(await session.scalars(_UNARCHIVED, {"now": now}))


async def on_dashboard(session: WriteSession, *, at_most: int) -> tuple[int, list[Attempt]]:
    """Return the number of archived attempts that Ray still lists, and those of them that were archived first."""
    are_there = (Attempt.archived_at.is_not(None), Attempt.dashboard_url.is_not(None))
    number = await session.scalar(select(func.count()).select_from(Attempt).where(*are_there))
    oldest = select(Attempt).where(*are_there).order_by(Attempt.archived_at, Attempt.id).limit(at_most)
    return number or 0, list(await session.scalars(oldest))


async def off_dashboard(session: WriteSession, attempt_id: str) -> None:
    """Record that Ray no longer lists the attempt."""
    await session.execute(update(Attempt).where(Attempt.id == attempt_id).values(dashboard_url=None))


async def heartbeat(session: WriteSession, attempt_id: str, now: datetime) -> None:
    """Record that the run was alive at `now`."""
    await session.execute(update(Attempt).where(Attempt.id == attempt_id).values(heartbeat_at=now))


async def begin(session: WriteSession, attempt_id: str, now: datetime) -> None:
    """Record that the run started."""
    await session.execute(update(Attempt).where(Attempt.id == attempt_id).values(started_at=now))


async def end(
    session: WriteSession, attempt_id: str, cause: EndCause, error: ErrorReport | None, now: datetime
) -> None:
    """Record how the attempt ended, unless it has already ended."""
    report = error.model_dump(mode="json") if error is not None else None
    await session.execute(
        update(Attempt)
        .where(Attempt.id == attempt_id, Attempt.ended_at.is_(None))
        .values(ended_at=now, cause=cause, error=report)
    )


async def archive(session: WriteSession, attempt_id: str, now: datetime) -> None:
    """Record that the driver log is archived."""
    await session.execute(update(Attempt).where(Attempt.id == attempt_id).values(archived_at=now))


async def archive_later(session: WriteSession, attempt_id: str, *, tries: int, after: datetime) -> None:
    """Postpone the next try to archive the driver log.

    Args:
        tries: number of failed tries so far.
    """
    values = {Attempt.archive_tries: tries, Attempt.archive_after: after}
    await session.execute(update(Attempt).where(Attempt.id == attempt_id).values(values))


async def record_log_copy(session: WriteSession, attempt_id: str, now: datetime) -> None:
    """Record that the driver log of the running attempt was copied."""
    await session.execute(update(Attempt).where(Attempt.id == attempt_id).values(log_kept_at=now))


# Built once: the dispatcher asks each second, and building a statement takes several times as long as executing it.
_ACTIVE = (
    select(Job, Attempt)
    .join(Attempt, Attempt.id == Job.current_attempt_id)
    .where(Job.state.in_(ON_CLUSTER), Attempt.ended_at.is_(None))
    .order_by(Attempt.created_at)
)
_WITH_OLD_COPIES = (
    select(Attempt)
    .join(Job, Job.current_attempt_id == Attempt.id)
    .where(Job.state.in_(ON_CLUSTER), Attempt.ended_at.is_(None), Attempt.heartbeat_at.is_not(None))
    .where(or_(Attempt.log_kept_at.is_(None), Attempt.log_kept_at <= bindparam("before")))
    .order_by(Attempt.log_kept_at.is_not(None), Attempt.log_kept_at, Attempt.created_at)
    .limit(bindparam("at_most", type_=Integer()))
)
_UNARCHIVED = (
    select(Attempt)
    .where(Attempt.archived_at.is_(None), Attempt.ended_at.is_not(None))
    .where(or_(Attempt.archive_after.is_(None), Attempt.archive_after <= bindparam("now")))
    .order_by(Attempt.ended_at)
)

_STREAMS = table_of(AttemptStream)
_LAST_RECEIVED = select(_STREAMS.c.last_sequence).where(
    _STREAMS.c.attempt_id == bindparam("attempt_id"), _STREAMS.c.stream == bindparam("stream")
)

_ADVANCE = (
    update(_STREAMS)
    .where(_STREAMS.c.attempt_id == bindparam("of_attempt"), _STREAMS.c.stream == bindparam("of_stream"))
    .where(_STREAMS.c.last_sequence == bindparam("before"))
    .values(last_sequence=bindparam("last_sequence"))
    .returning(_STREAMS.c.last_sequence)
)


async def last_received(session: WriteSession, attempt_id: str, stream: str) -> int:
    """Return the highest stored sequence of a stream; 0 before its first event."""
    return await (await core(session)).scalar(_LAST_RECEIVED, {"attempt_id": attempt_id, "stream": stream}) or 0


async def advance(session: WriteSession, attempt_id: str, stream: str, *, last: int, to: int) -> bool:
    """Set the last received sequence of a stream to `to`, but only if it is `last`.

    Returns:
        True if it was `last`, and is now `to`.
    """
    found = await (await core(session)).scalar(
        _ADVANCE, {"of_attempt": attempt_id, "of_stream": stream, "before": last, "last_sequence": to}
    )
    return found is not None


async def set_last_received(session: WriteSession, attempt_id: str, stream: str, sequence: int) -> None:
    """Set the last received sequence of a stream."""
    row = {"attempt_id": attempt_id, "stream": stream, "last_sequence": sequence}
    await upsert(session, AttemptStream, [row])
