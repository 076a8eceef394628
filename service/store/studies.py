"""Reads the study of a sweep from its events, for its driver and for sweeps that continue or learn from it."""

from collections.abc import Sequence
from typing import get_args

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Text, cast, select
from sqlalchemy.ext.asyncio import AsyncSession

from fgd_core.spec.study_state import KINDS, StudyRow
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
from service.store.tables import Attempt, Event, Job, table_of

_EVENTS = table_of(Event)
_KINDS = [member.model_fields["kind"].default for member in get_args(StudyEntry.model_fields["event"].annotation)]
_STRINGS: TypeAdapter[list[str]] = TypeAdapter(list[str])


async def read(session: AsyncSession, job: Job, attempt: Attempt, *, after: int) -> StudyLog:
    """Return the study from which the driver that runs as `attempt` continues.

    Args:
        after: only entries after this sequence. 0, at the start of a driver, also returns the trials of other sweeps.
    """
    log = StudyLog(entries=await entries(session, job.id, after=after))
    if after > 0:
        return log
    before = [other for other in await attempts.of_job(session, job.id) if other.number < attempt.number]
    return log.model_copy(update={"earlier": await _earlier(session, job), "seconds": attempts.ran_s(before)})


async def entries(session: AsyncSession, job_id: str, *, after: int = 0) -> list[StudyEntry]:
    """Return the entries of a sweep's study after a sequence, in order; entries that cannot be parsed are skipped."""
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


async def rows(session: AsyncSession, job_id: str, *, after: int) -> list[StudyRow]:
    """Return the events after a sequence from which the trials of a sweep are folded, unparsed, in order."""
    columns = (_EVENTS.c.sequence, _EVENTS.c.at, _EVENTS.c.attempt, cast(_EVENTS.c.data, Text))
    query = select(*columns).where(_EVENTS.c.job_id == job_id, _EVENTS.c.kind.in_(KINDS))
    query = query.order_by(_EVENTS.c.sequence).limit(PAGE)
    found: list[StudyRow] = []
    while True:
        last = found[-1].sequence if found else after
        page = [StudyRow._make(row) for row in await session.execute(query.where(_EVENTS.c.sequence > last))]
        found += page
        if len(page) < PAGE:
            return found


async def _earlier(session: AsyncSession, job: Job) -> list[EarlierTrial]:
    """Return the finished trials of the sweeps that this one continues or learns from, if they are in its project."""
    fork = job.spec.get("fork")
    named = _STRINGS.validate_python([fork] if fork is not None else [])
    learned = _STRINGS.validate_python(job.spec.get("warm_start") or [])
    found = []
    for job_id in dict.fromkeys([*named, *learned]):
        other = (await jobs.states(session, [job_id])).get(job_id)
        # A sweep may have been deleted since the admission of this one; it is skipped.
        if other is not None and other.project == job.project:
            found.extend(finished(job_id, await entries(session, job_id), counts=job_id in named))
    return found


def finished(job_id: str, study: Sequence[StudyEntry], *, counts: bool) -> list[EarlierTrial]:
    """Return the trials of a study that count as results: `completed`, or `stopped` by a scheduler.

    A trial that a user stopped, that failed or that was lost says nothing about its values. A repeat of another trial's
    values is nothing new to a searcher.

    Args:
        counts: whether the trials also become trials of the new sweep.
    """
    begun: dict[int, TrialStarted] = {}
    reports: dict[int, list[TrialReported]] = {}
    ended: dict[int, TrialEnded] = {}
    for entry in study:
        match entry.event:
            case TrialStarted() as started:
                # The reports after this event belong to the values of this, later segment.
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
