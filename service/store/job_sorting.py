"""Reads the list of jobs sorted by a column.

If an index finds that a filter selects few jobs, these are sorted. Otherwise the jobs are read through the index of the
column, a limited number for each page.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from sqlalchemy import Select, and_, func, select, true, union_all

from service.store import bounded_lists, job_search
from service.store.bounded_lists import Key, Listing, Page
from service.store.job_filter import AGE, Filter, Order, children
from service.store.statements import unindexed
from service.store.tables import Job
from service.store.write_session import WriteSession

_EARLIEST, _LATEST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
_AP = unindexed(Job.best_ap)


async def page(session: WriteSession, wanted: Filter, order: Order, *, before: Key | None, limit: int) -> Page[Job]:
    """Return a page of jobs in an order; jobs without an AP follow those with one."""
    listing = wanted.listing(order)
    few = await _few(session, wanted) if listing.others or not listing.lanes else None
    if order.column != "best_ap":
        query = _sorted(wanted, listing, few) if few is not None else None
        return await _read(session, listing, query, before=before, limit=limit)
    scored: Sequence[Job] = []
    start = before[1:] if before is not None and before[0] is None else None
    if start is None:
        query = _sorted(wanted, listing, few).where(_AP.is_not(None)) if few is not None else None
        found = await _read(session, listing.within(Job.best_ap.is_not(None)), query, before=before, limit=limit)
        if found.end is not None:
            return found
        scored = found.rows
    # By age only: a comparison with NULL is never true.
    lanes = [and_(lane, Job.best_ap.is_(None)) for lane in listing.lanes or [true()]]
    unscored = replace(listing, key=AGE, lanes=lanes)
    query = _sorted(wanted, unscored, few).where(_AP.is_(None)) if few is not None else None
    if len(scored) == limit:
        following = await _read(session, unscored, query, before=None, limit=1)
        first = (None, _EARLIEST if order.is_ascending else _LATEST, "")
        return Page(rows=scored, end=first if following.rows or following.end is not None else None)
    found = await _read(session, unscored, query, before=start, limit=limit - len(scored))
    return Page(rows=[*scored, *found.rows], end=(None, *found.end) if found.end is not None else None)


async def _read(
    session: WriteSession, listing: Listing[Job], few: Select[Key] | None, *, before: Key | None, limit: int
) -> Page[Job]:
    """Return a page of a list.

    Args:
        few: a query for the keys of its jobs, if they are few.
    """
    if few is None:
        return await bounded_lists.read(session, listing, before=before, limit=limit)
    if before is not None:
        few = few.where(listing.behind(before))
    keys = [tuple(row) for row in await session.execute(few.limit(limit + 1))]
    rows = await bounded_lists.rows_of(session, listing, keys[:limit])
    return Page(rows=rows, end=keys[limit - 1] if len(keys) > limit else None)


def _sorted(wanted: Filter, listing: Listing[Job], few: Select[tuple[str]]) -> Select[Key]:
    first, *others = listing.key
    # With an index in this order, SQLite would read the jobs one by one until the page is full.
    order = listing.ordered([unindexed(first), *others])
    return select(*listing.key).where(Job.id.in_(few), *wanted.conditions()).order_by(*order)


async def _few(session: WriteSession, wanted: Filter) -> Select[tuple[str]] | None:
    """Return a query for the ids of few jobs that include all selected ones; None if no index finds them."""
    of_parent = children(wanted.parent) if wanted.parent is not None else None
    for found in (of_parent, await job_search.candidates(session, wanted.text), _by_index(wanted)):
        if found is not None:
            ids = select(found.subquery().c.id).limit(bounded_lists.EXAMINED + 1)
            num_found = await session.scalar(select(func.count()).select_from(ids.subquery()))
            if num_found is not None and num_found <= bounded_lists.EXAMINED:
                return ids
    return None


def _by_index(wanted: Filter) -> Select[tuple[str]] | None:
    listing = wanted.listing()
    if not listing.lanes and not listing.ranges:
        return None
    ids = select(Job.id).where(*listing.ranges).limit(bounded_lists.EXAMINED + 1)
    lanes = [ids.where(lane).subquery() for lane in listing.lanes] or [ids.subquery()]
    return select(union_all(*(select(lane.c.id) for lane in lanes)).subquery().c.id)
