"""Reads pages of the list of jobs."""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, select

from service.store import bounded_lists, job_search, job_sorting
from service.store.bounded_lists import Key, Page
from service.store.job_filter import AGE, NEWEST_FIRST, Filter, Order
from service.store.statements import unindexed
from service.store.tables import Job
from service.store.write_session import WriteSession


async def page(
    session: WriteSession, wanted: Filter, order: Order = NEWEST_FIRST, *, before: Key | None, limit: int
) -> Page[Job]:
    """Return a page of jobs. It may have fewer jobs than `limit` although more follow: see `bounded_lists`.

    Args:
        before: the `end` of the previous page in the same order; None for the first page.
    """
    if order != NEWEST_FIRST or wanted.parent is not None:
        return await job_sorting.page(session, wanted, order, before=before, limit=limit)
    # A text is first searched in the newest jobs, and then through its index.
    listing = wanted.listing()
    newest = await bounded_lists.read(session, listing, before=before, limit=limit)
    num_missing = limit - len(newest.rows)
    if not wanted.text or newest.end is None or num_missing == 0:
        return newest
    found = await job_search.candidates(session, wanted.text)
    if found is None:
        return newest
    is_older = listing.behind(newest.end)
    keys = await _keys(session, [Job.id.in_(found), is_older, *listing.conditions()], limit=num_missing + 1)
    rows = [*newest.rows, *await bounded_lists.rows_of(session, listing, keys[:num_missing])]
    return Page(rows=rows, end=keys[num_missing - 1] if len(keys) > num_missing else None)


async def _keys(session: WriteSession, which: Sequence[ColumnElement[bool]], *, limit: int) -> list[Key]:
    """Return the keys of the newest jobs that meet conditions, of which another index answers one."""
    # With an index in this order, SQLite would read the jobs one by one until the page is full.
    newest = unindexed(Job.created_at).desc()
    query = select(*AGE).where(*which).order_by(newest, Job.id.desc()).limit(limit)
    return [tuple(row) for row in await session.execute(query)]
