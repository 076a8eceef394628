"""A job's curves."""

from typing import Annotated

from fastapi import APIRouter, Query

from fgd_core.spec.views import MetricPage
from service.api.deps import ServicesDep
from service.jobs.thinning import thin
from service.store import jobs, metrics

router = APIRouter(prefix="/v1/jobs", tags=["metrics"])


@router.get("/{job_id}/metrics", operation_id="get_metrics")
async def get_metrics(
    services: ServicesDep,
    job_id: str,
    name: Annotated[list[str] | None, Query()] = None,
    max_points: Annotated[int, Query(ge=2, le=100_000)] = 1000,
) -> MetricPage:
    """The curves of these names, or all; each thinned to `max_points` with its lowest and highest points kept."""
    async with services.database.reading() as session:
        await jobs.get(session, job_id)
        found = await metrics.series(session, job_id, name)
    return MetricPage(items=[curve.model_copy(update={"points": thin(curve.points, max_points)}) for curve in found])
