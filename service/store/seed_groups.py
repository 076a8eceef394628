"""Reads the groups of jobs that differ only in the seed, the group of the newest job first."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import select, union_all

from fgd_core.spec.events import JobState
from service.store import job_list
from service.store.bounded_lists import Key, Page
from service.store.job_filter import Filter
from service.store.tables import Job
from service.store.write_session import WriteSession

MAX_JOBS = 200
"""The newest jobs of a group that count."""
_EXAMINED = 500
"""The most jobs that a page examines for new groups."""


@dataclass(frozen=True, kw_only=True)
class SeedRuns:
    """Jobs that match a filter and belong to one group, newest first."""

    newest: Job
    job_ids: Sequence[str]
    seeds: Sequence[int]
    """Each once, in ascending order."""
    states: Counter[JobState]
    best_aps: Sequence[float]
    """Of the jobs that succeeded."""


class _Member(NamedTuple):
    job_id: str
    state: JobState
    best_ap: float | None
    seed: int | None


async def page(session: WriteSession, wanted: Filter, *, before: Key | None, limit: int) -> Page[SeedRuns]:
    """Return a page of groups. It may have fewer than `limit` although more follow.

    A job without a group, from an older server, is a group of its own.

    Args:
        before: the `end` of the previous page; None for the first page.
    """
    read = await job_list.page(session, wanted, before=before, limit=_EXAMINED)
    newest: dict[str, Job] = {}
    end = read.end
    for previous, job in zip([None, *read.rows], read.rows, strict=False):
        group = job.seed_group or job.id
        if previous is not None and group not in newest and len(newest) == limit:
            end = (previous.created_at, previous.id)
            break
        newest.setdefault(group, job)
    if before is not None:
        for group in await _listed_before(session, wanted, newest, before):
            del newest[group]
    members = await _members(session, wanted, newest)
    return Page(rows=[_folded(job, members.get(group, [])) for group, job in newest.items()], end=end)


async def _listed_before(session: WriteSession, wanted: Filter, groups: Iterable[str], before: Key) -> Sequence[str]:
    """Return those of the groups that have a job on an earlier page."""
    is_earlier = wanted.listing().until(before)
    query = select(Job.seed_group).where(Job.seed_group.in_(groups), is_earlier, *wanted.conditions()).distinct()
    return [group for group in await session.scalars(query) if group is not None]


async def _members(session: WriteSession, wanted: Filter, groups: Iterable[str]) -> dict[str, list[_Member]]:
    """Return the newest MAX_JOBS jobs of each group that match the filter, newest first."""
    columns = (Job.seed_group, Job.id, Job.state, Job.best_ap, Job.spec["seed"].as_integer().label("seed"))
    newest = (Job.created_at.desc(), Job.id.desc())
    query = select(*columns, Job.created_at).where(*wanted.conditions()).order_by(*newest).limit(MAX_JOBS)
    each = [select(query.where(Job.seed_group == group).subquery()) for group in groups]
    found: dict[str, list[_Member]] = {}
    for row in await session.execute(union_all(*each)) if each else ():
        found.setdefault(row.seed_group, []).append(_Member(row.id, row.state, row.best_ap, row.seed))
    return found


def _folded(newest: Job, members: Sequence[_Member]) -> SeedRuns:
    runs = members or [_Member(newest.id, newest.state, newest.best_ap, newest.spec.get("seed"))]
    return SeedRuns(
        newest=newest,
        job_ids=[run.job_id for run in runs],
        seeds=sorted({run.seed for run in runs if run.seed is not None}),
        states=Counter(run.state for run in runs),
        best_aps=[run.best_ap for run in runs if run.best_ap is not None and run.state == "succeeded"],
    )
