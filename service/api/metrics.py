"""A job's curves."""

from typing import Annotated

from fastapi import APIRouter, Query

from fgd_core.spec.views import MetricPage
from service.api.access import Reader, visible_job
from service.api.deps import ServicesDep
from service.jobs.points import MAX_STEP
from service.store import curves
from service.store.session import read_consistently

router = APIRouter(prefix="/v1/jobs", tags=["metrics"])

Step = Annotated[int, Query(ge=0, le=MAX_STEP)]


@router.get("/{job_id}/metrics", operation_id="get_metrics")
async def get_metrics(
    *,
    services: ServicesDep,
    principal: Reader,
    job_id: str,
    name: Annotated[list[str] | None, Query()] = None,
    trial: str | None = None,
    from_step: Step = 0,
    to_step: Step = MAX_STEP,
    max_points: Annotated[
        int, Query(ge=0, le=100_000, description="Of each curve. 1: its newest point; 0: names without points")
    ] = 1000,
) -> MetricPage:
    """The curves of these names, or all; where there are more points than wanted, the lowest and highest of each
    stretch. A range of few points gives all of them."""
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
