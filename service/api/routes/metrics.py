"""Metrics: the curves of a job."""

from typing import Annotated

from fastapi import APIRouter, Query

from fgd_core.spec.views import MetricPage
from service.api.access import JobId, Reader, visible_job
from service.api.deps import ServicesDep
from service.jobs.points import MAX_STEP
from service.store import curves
from service.store.statements import read_consistently

router = APIRouter(prefix="/v1/jobs", tags=["metrics"])

Step = Annotated[int, Query(ge=0, le=MAX_STEP)]


@router.get("/{job_id}/metrics", operation_id="get_metrics")
async def get_metrics(
    *,
    services: ServicesDep,
    principal: Reader,
    job_id: JobId,
    name: Annotated[
        list[str] | None, Query(description="Only these curves; may be repeated", examples=[["loss"]])
    ] = None,
    trial: Annotated[str | None, Query(description="Only this trial of a sweep")] = None,
    from_step: Annotated[Step, Query(description="The first step")] = 0,
    to_step: Annotated[Step, Query(description="The last step")] = MAX_STEP,
    max_points: Annotated[
        int, Query(ge=0, le=100_000, description="Points per curve. 1: the newest point only; 0: the names only")
    ] = 1000,
) -> MetricPage:
    """Return the curves with these names, or all curves of the job.

    A curve with more than `max_points` points in the range is thinned: each interval of steps keeps its lowest and its
    highest point. A range with fewer points is returned completely.
    """
    async with services.database.reading() as session:
        await read_consistently(session)
        await visible_job(session, principal, job_id)
        found = await curves.read(
            session,
            job_id,
            names=[each.replace("\x00", "") for each in name] if name is not None else None,
            trial=trial.replace("\x00", "") if trial is not None else None,
            from_step=from_step,
            to_step=to_step,
            max_points=max_points,
        )
    return MetricPage(items=found)
