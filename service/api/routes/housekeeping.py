"""Housekeeping: remove what the retention rules no longer keep, and delete single jobs."""

from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Query, Response

from fgd_core.errors import ClusterError
from fgd_core.spec.housekeeping import HousekeepingView
from service.api import audit_notes
from service.api.access import AdminOfAll, JobId, Submitter, visible_job
from service.api.deps import ServicesDep
from service.housekeeping import deletion
from service.jobs import retention
from service.store import attempts, models, study_runs
from service.store import deletion as marks
from service.store import retention as store

router = APIRouter(prefix="/v1", tags=["housekeeping"])


@router.post("/housekeeping", operation_id="keep_house")
async def keep_house(
    services: ServicesDep,
    principal: AdminOfAll,
    dry_run: Annotated[bool, Query(description="Report what would be removed, without removing it")] = False,
) -> HousekeepingView:
    """Run a housekeeping pass: remove what the retention rules in the settings no longer keep.

    A request takes at most half a minute. If `is_complete` is false, repeat it for the rest.
    """
    if dry_run:
        return await services.housekeeping.preview()
    view = await services.housekeeping.run_pass()
    audit_notes.about(num_items=view.num_items, num_rows=view.num_rows, size_bytes=view.size_bytes)
    return view


@router.delete("/jobs/{job_id}", status_code=204, response_class=Response, operation_id="delete_job")
async def delete_job(
    services: ServicesDep,
    principal: Submitter,
    job_id: JobId,
    force: Annotated[bool, Query(description="Also delete files that an alias of a model names")] = False,
) -> Response:
    """Delete a job that is over, with its events, metrics, logs, checkpoints and all other files.

    The runs of a study are deleted with it. Refused (409) while another job that is not over needs one of them, and
    while an alias of a model, such as `production`, names one of their files. With `force`, the aliases are deleted
    too.
    """
    async with services.database.writing() as session:
        job = await visible_job(session, principal, job_id, lock=True)
        doomed = [job, *(run.job for run in await study_runs.of_study(session, job_id, lock=True))]
        for each in doomed:
            retention.check_deletable(
                each.id,
                each.state,
                needed_by=await store.needed_by(session, each.id),
                aliases=[] if force else await models.aliases_of(session, each.id),
                is_released=await store.is_released(session, each.id),
            )
            await marks.mark(session, each)
        audit_notes.about(project=job.project, name=job.name)
        tried = [attempt for each in doomed for attempt in await attempts.of_job(session, each.id)]
    # If Ray cannot be reached now, it will most likely have lost these jobs when it is back.
    with suppress(ClusterError):
        for attempt in tried:
            if attempt.dashboard_url:
                await services.cluster.delete(attempt.submission_id)
    for each in doomed:
        await deletion.finish(services.database, services.storage, each.id)
    return Response(status_code=204)
