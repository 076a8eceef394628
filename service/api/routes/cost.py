"""Costs: what a job should take, and what it has taken."""

from fastapi import APIRouter

from fgd_core.spec.costs import JobCost
from service.api import costs
from service.api.access import JobId, Reader, visible_job
from service.api.compute_thread import run_in_compute_thread
from service.api.deps import ServicesDep

router = APIRouter(prefix="/v1/jobs", tags=["report"])


@router.get("/{job_id}/cost", operation_id="get_cost")
async def get_cost(services: ServicesDep, principal: Reader, job_id: JobId) -> JobCost:
    """Return what a job was expected to cost when it was submitted, what it has cost, and how long it still takes.

    The estimate is made from the time that earlier runs of the project took. Only jobs of the kinds `train`, `distill`,
    `chain`, `study` and `sweep` have one. `POST /v1/drafts` estimates the cost of a job that is not submitted.
    """
    capacity = await services.capacity.recent()
    now_s = services.clock().timestamp()
    async with services.database.reading() as session:
        job = await visible_job(session, principal, job_id)
        compute = await costs.of_job(session, services.studies, job, capacity, now_s=now_s)
    return await run_in_compute_thread(compute)
