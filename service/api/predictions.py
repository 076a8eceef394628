"""Predictions of jobs that are stored, and of drafts."""

from collections.abc import Callable
from functools import partial

from sqlalchemy.ext.asyncio import AsyncSession

from fgd_core.spec.jobs import JobSpec
from fgd_core.spec.prediction import PredictionView
from service.jobs.forecast.view import view
from service.store import trainings
from service.store.tables import Job

Compute = Callable[[], PredictionView]
"""Makes a prediction from what was read; takes some hundredths of a second."""


async def of_job(session: AsyncSession, job: Job) -> Compute:
    """Read what predicts a job; its kind is predicted."""
    run = await trainings.of_job(session, job.id)
    earlier = await trainings.finished(session, job.project, but=job.id)
    return partial(view, run, earlier, submitted_s=job.created_at.timestamp())


async def of_draft(session: AsyncSession, spec: JobSpec) -> Compute:
    """Read what predicts a job that is not submitted yet; its kind is predicted."""
    run = await trainings.of_spec(session, spec.model_dump(mode="json"))
    return partial(view, run, await trainings.finished(session, spec.project), submitted_s=float("inf"))
