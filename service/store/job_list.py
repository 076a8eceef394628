"""Reads the list of jobs, newest first."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import product

from sqlalchemy import ColumnElement, and_, select

from fgd_core.spec.events import JobState
from service.store import job_search, newest_first
from service.store.newest_first import Key, Listing, Page, behind
from service.store.statements import unindexed
from service.store.tables import Job
from service.store.write_session import WriteSession

_MAX_LANES = 16
_INDEXED = (("project", "state"), ("project",), ("kind",), ("state",))
"""The columns of the indices in the order of the list: a project before a state, which may have most of the jobs."""
_KEY = (Job.created_at, Job.id)


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Selects jobs; an empty field selects all."""

    states: Sequence[JobState] = ()
    kinds: Sequence[str] = ()
    projects: Sequence[str] = ()
    text: str = ""
    """A part of the name or the beginning of the id, case-insensitive."""
    created_after: datetime | None = None
    created_before: datetime | None = None
    only_project: str | None = None
    """The only project that the reader may see, regardless of `projects`; None for all."""


async def page(session: WriteSession, wanted: Filter, *, before: Key | None, limit: int) -> Page[Job]:
    """Return a page of jobs, newest first.

    A text is first searched in the newest jobs, and then through its index. The page may have fewer jobs than `limit`
    although more follow: see `newest_first`.

    Args:
        before: the `end` of the previous page; None for the first page.
    """
    listing = _listing(wanted)
    newest = await newest_first.read(session, listing, before=before, limit=limit)
    num_missing = limit - len(newest.rows)
    if not wanted.text or newest.end is None or num_missing == 0:
        return newest
    found = await job_search.candidates(session, wanted.text)
    if found is None:
        return newest
    is_older = behind(_KEY, newest.end)
    keys = await _keys(session, [Job.id.in_(found), is_older, *listing.conditions()], limit=num_missing + 1)
    rows = [*newest.rows, *await newest_first.rows_of(session, listing, keys[:num_missing])]
    return Page(rows=rows, end=keys[num_missing - 1] if len(keys) > num_missing else None)


def _listing(wanted: Filter) -> Listing[Job]:
    only = [wanted.only_project] if wanted.only_project is not None else []
    named = {"project": only or wanted.projects, "kind": wanted.kinds, "state": wanted.states}
    choices = {name: list(dict.fromkeys(values)) for name, values in named.items() if values}
    indexed = next((names for names in _INDEXED if _num_lanes(names, choices) <= _MAX_LANES), ())
    others = [getattr(Job, name).in_(values) for name, values in choices.items() if name not in indexed]
    if only and wanted.projects:
        others.append(Job.project.in_(wanted.projects))
    if wanted.text:
        others.append(job_search.matches(wanted.text))
    lanes = product(*([getattr(Job, name) == value for value in choices[name]] for name in indexed))
    return Listing(
        table=Job,
        key=_KEY,
        lanes=[and_(*lane) for lane in lanes] if indexed else [],
        ranges=_ranges(wanted),
        others=others,
    )


def _num_lanes(names: Sequence[str], choices: Mapping[str, Sequence[str]]) -> float:
    """Return how many lanes an index with these columns has; infinite if a column is not chosen."""
    return math.prod(len(choices[name]) if name in choices else math.inf for name in names)


def _ranges(wanted: Filter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.created_after is not None:
        found.append(Job.created_at > wanted.created_after)
    if wanted.created_before is not None:
        found.append(Job.created_at < wanted.created_before)
    return found


async def _keys(session: WriteSession, which: Sequence[ColumnElement[bool]], *, limit: int) -> list[Key]:
    """Return the keys of the newest jobs that meet conditions, of which another index answers one."""
    # With an index in this order, SQLite would read the jobs one by one until the page is full.
    newest = unindexed(Job.created_at).desc()
    query = select(*_KEY).where(*which).order_by(newest, Job.id.desc()).limit(limit)
    return [tuple(row) for row in await session.execute(query)]
