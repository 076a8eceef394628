"""Predictions: what a training will reach, and whether its distillation will help."""

from fastapi import APIRouter

from fgd_core.errors import SpecError
from fgd_core.spec.prediction import PREDICTED_KINDS, PredictionView
from service.api import predictions
from service.api.access import JobId, Reader, visible_job
from service.api.compute_thread import run_in_compute_thread
from service.api.deps import ServicesDep

router = APIRouter(prefix="/v1/jobs", tags=["report"])


@router.get("/{job_id}/prediction", operation_id="get_prediction")
async def get_prediction(services: ServicesDep, principal: Reader, job_id: JobId) -> PredictionView:
    """Predict the final AP of a training, and of the same training without distillation, with 80 % intervals.

    The predictions are made from the finished trainings of the project, from the curve of the job itself and from its
    teacher's AP: as they were at its submission and at the first tenth of its epochs, and as they are now. Only jobs of
    the kinds `train` and `distill` have one.
    """
    async with services.database.reading() as session:
        job = await visible_job(session, principal, job_id)
        if job.kind not in PREDICTED_KINDS:
            message = f"job {job.id} is of the kind {job.kind}; only jobs of the kinds train and distill are predicted"
            raise SpecError(message, job_id=job.id)
        compute = await predictions.of_job(session, job)
    return await run_in_compute_thread(compute)
