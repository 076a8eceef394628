"""Groups of jobs that differ only in the seed, with mean and interval."""

from fastapi import APIRouter

from fgd_core.spec.seed_groups import SeedGroupPage, SeedGroupView
from service.api import cursors
from service.api.deps import ServicesDep
from service.api.job_filters import Selected
from service.jobs.seed_scores import summarize
from service.store import seed_groups
from service.store.seed_groups import SeedRuns

router = APIRouter(prefix="/v1/seed-groups", tags=["jobs"])

_MAX_IDS = 50


@router.get("", operation_id="list_seed_groups")
async def list_seed_groups(
    *, services: ServicesDep, wanted: Selected, limit: cursors.Limit = 50, cursor: cursors.Cursor = None
) -> SeedGroupPage:
    """List the jobs in groups whose specs differ only in the seed, the group of the newest job first.

    The name, the priority, `preemptible` and `retry` may differ, too. Only the selected jobs count. A page may have
    fewer groups than `limit`, or none, although more follow: the list ends where `next_cursor` is null.
    """
    before = cursors.decode(cursor) if cursor is not None else None
    async with services.database.reading() as session:
        found = await seed_groups.page(session, wanted, before=before, limit=limit)
    next_cursor = cursors.encode(*found.end) if found.end is not None else None
    return SeedGroupPage(items=[_view(runs) for runs in found.rows], next_cursor=next_cursor)


def _view(runs: SeedRuns) -> SeedGroupView:
    newest = runs.newest
    return SeedGroupView(
        group=newest.seed_group,
        name=newest.name,
        kind=newest.kind,
        project=newest.project,
        created_at=newest.created_at,
        num_jobs=len(runs.job_ids),
        job_ids=list(runs.job_ids[:_MAX_IDS]),
        seeds=list(runs.seeds),
        states=dict(runs.states),
        best_ap=summarize(runs.best_aps),
    )
