"""The study of a sweep, read from its events: what a driver, and a sweep that learns from another, go on from."""

from collections.abc import Sequence
from typing import get_args

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Table, select
from sqlalchemy.ext.asyncio import AsyncSession

from fgd_core.spec.trials import (
    EarlierTrial,
    StudyEntry,
    StudyLog,
    TrialEnded,
    TrialReported,
    TrialStarted,
)
from service.store import attempts, jobs
from service.store.events import PAGE
from service.store.tables import Attempt, Event, Job

_EVENTS: Table = Event.__table__  # type: ignore[assignment]
_KINDS = [member.model_fields["kind"].default for member in get_args(StudyEntry.model_fields["event"].annotation)]
_STRINGS: TypeAdapter[list[str]] = TypeAdapter(list[str])


async def read(session: AsyncSession, job: Job, attempt: Attempt, *, after: int) -> StudyLog:
    """What the driver that runs as `attempt` goes on from.

    Args:
        after: only entries behind this sequence. At 0, where a driver begins, also what other sweeps have found.
    """
    log = StudyLog(entries=await entries(session, job.id, after=after))
    if after > 0:
        return log
    ran = [other for other in await attempts.of_job(session, job.id) if other.number < attempt.number]
    seconds = sum(
        (other.ended_at - other.started_at).total_seconds()
        for other in ran
        if other.started_at is not None and other.ended_at is not None
    )
    return log.model_copy(update={"earlier": await _earlier(session, job), "seconds": seconds})


async def entries(session: AsyncSession, job_id: str, *, after: int = 0) -> list[StudyEntry]:
    """The entries of a sweep's study behind a sequence, in order; those that this reader cannot make out left aside."""
    query = (
        select(_EVENTS.c.sequence, _EVENTS.c.data)
        .where(_EVENTS.c.job_id == job_id, _EVENTS.c.kind.in_(_KINDS))
        .order_by(_EVENTS.c.sequence)
        .limit(PAGE)
    )
    found = []
    while True:
        page = (await session.execute(query.where(_EVENTS.c.sequence > after))).all()
        for sequence, data in page:
            try:
                found.append(StudyEntry(sequence=sequence, event=data))
            except ValidationError:
                continue
        if len(page) < PAGE:
            return found
        after = page[-1].sequence


async def _earlier(session: AsyncSession, job: Job) -> list[EarlierTrial]:
    """The finished trials of the sweeps that this one goes on from or learns from, as far as its project has them."""
    fork = job.spec.get("fork")
    named = _STRINGS.validate_python([fork] if fork is not None else [])
    learned = _STRINGS.validate_python(job.spec.get("warm_start") or [])
    found = []
    for job_id in dict.fromkeys([*named, *learned]):
        other = (await jobs.states(session, [job_id])).get(job_id)
        # A project may have been left since admission looked: what is not there is not learned from.
        if other is not None and other.project == job.project:
            found.extend(finished(job_id, await entries(session, job_id), counts=job_id in named))
    return found


def finished(job_id: str, study: Sequence[StudyEntry], *, counts: bool) -> list[EarlierTrial]:
    """The trials of a study that were trained as far as anybody wanted: `completed`, or `stopped` by a scheduler.

    One that a user stopped, that failed or was lost says nothing about its values, and a repetition of another's values
    nothing new to a searcher.

    Args:
        counts: whether they become trials of the sweep that asks.
    """
    begun: dict[int, TrialStarted] = {}
    reports: dict[int, list[TrialReported]] = {}
    ended: dict[int, TrialEnded] = {}
    for entry in study:
        match entry.event:
            case TrialStarted() as started:
                # A later segment has the values that the reports behind it are of.
                begun[started.trial] = started
                ended.pop(started.trial, None)
            case TrialReported() as reported:
                reports.setdefault(reported.trial, []).append(reported)
            case TrialEnded() as end:
                ended[end.trial] = end
    return [
        EarlierTrial(
            job_id=job_id,
            trial=trial,
            counts=counts,
            values=begun[trial].values,
            seed=begun[trial].seed,
            reports=reports.get(trial, []),
            ended=end,
        )
        for trial, end in sorted(ended.items())
        if trial in begun and begun[trial].repeats is None
        if end.cause in ("completed", "stopped") and not end.by_user
    ]
