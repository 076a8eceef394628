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
from service.store import attempts, models
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

    Refused (409) while another job that is not over needs this one, and while an alias of a model, such as
    `production`, names a file of this job. With `force`, the aliases are deleted too.
    """
    async with services.database.writing() as session:
        job = await visible_job(session, principal, job_id, lock=True)
        retention.check_deletable(
            job_id,
            job.state,
            needed_by=await store.needed_by(session, job_id),
            aliases=[] if force else await models.aliases_of(session, job_id),
            is_released=await store.is_released(session, job_id),
        )
        await marks.mark(session, job)
        audit_notes.about(project=job.project, name=job.name)
        runs = [attempt.submission_id for attempt in await attempts.of_job(session, job_id) if attempt.dashboard_url]
    # If Ray cannot be reached now, it will most likely have lost these jobs when it is back.
    with suppress(ClusterError):
        for submission_id in runs:
            await services.cluster.delete(submission_id)
    await deletion.finish(services.database, services.storage, job_id)
    return Response(status_code=204)
