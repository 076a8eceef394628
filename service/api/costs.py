"""Costs of jobs that are stored, and of drafts."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias, TypeGuard

from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncSession

from fgd_core.errors import SpecError
from fgd_core.spec.costs import PRICED_KINDS, CostEstimate, JobCost
from fgd_core.spec.jobs import JOB_SPEC, JobSpec
from fgd_core.spec.kinds.chain import ChainSpec
from fgd_core.spec.kinds.distill import DistillSpec
from fgd_core.spec.kinds.study import StudySpec
from fgd_core.spec.kinds.sweep import SweepSpec
from fgd_core.spec.kinds.train import TrainSpec
from service.api.studies import Studies
from service.jobs.cluster import Capacity
from service.jobs.costs import estimate
from service.jobs.costs.plan import plan
from service.jobs.costs.stored import StoredRun, StoredTrial, took
from service.jobs.queueing import Limits
from service.store import projects, run_times
from service.store.tables import Job

Priced: TypeAlias = TrainSpec | DistillSpec | ChainSpec | StudySpec | SweepSpec


async def of_job(
    session: AsyncSession, studies: Studies, job: Job, capacity: Capacity | None, *, now_s: float
) -> Callable[[], JobCost]:
    """Read what decides the cost of a job.

    Args:
        capacity: None if the cluster does not answer.
        now_s: POSIX time.
    Returns:
        Makes the estimates from what was read; takes some hundredths of a second.
    Raises:
        SpecError: the cost of this kind of job is not estimated, or another version stored the spec.
    """
    spec = _spec_of(job)
    runs, trials = await run_times.earlier(session, job.project)
    slots = await _slots(session, spec, capacity)
    own = await run_times.of_job(session, job, now_s=now_s)
    gpus, submitted_s = spec.resources.all_gpus, job.created_at.timestamp()
    so_far = estimate.spent(own, gpus=gpus, now_s=now_s)
    if isinstance(spec, SweepSpec):
        paid = [trial for trial in await studies.trials(session, job, spec) if trial.origin != "fork"]
        runs_s = sum(trial.busy_s for trial in paid)
        num_ended = sum(trial.state not in ("running", "paused") for trial in paid)
        so_far = so_far.model_copy(update={"runs": num_ended, "runs_s": runs_s, "gpu_hours": runs_s * gpus / 3600})

    def compute() -> JobCost:
        # What has ended since the submission, such as its own runs, is known only now.
        known = (
            [run for run in runs if run.ended_s <= submitted_s],
            [each for each in trials if each.ended_s <= submitted_s],
        )
        expected = _estimate(spec, *known, slots)
        left_s = estimate.left(own, _estimate(spec, runs, trials, slots))
        return estimate.cost(expected, so_far, left_s, state=job.state)

    return compute


async def of_draft(session: AsyncSession, spec: Priced, capacity: Capacity | None) -> Callable[[], CostEstimate]:
    """Read what decides the cost of a job that is not submitted yet; the rest is as for `of_job`."""
    runs, trials = await run_times.earlier(session, spec.project)
    return partial(_estimate, spec, runs, trials, await _slots(session, spec, capacity))


def is_priced(spec: JobSpec) -> TypeGuard[Priced]:
    """Return whether the cost of this kind of job is estimated."""
    return spec.kind in PRICED_KINDS


def _spec_of(job: Job) -> Priced:
    try:
        spec = JOB_SPEC.validate_python(job.spec)
    except ValidationError as cause:
        message = f"another version stored the spec of job {job.id}, and its cost cannot be estimated; submit it again"
        raise SpecError(message, job_id=job.id) from cause
    if not is_priced(spec):
        message = f"job {job.id} is of the kind {job.kind}; only the cost of {', '.join(PRICED_KINDS)} is estimated"
        raise SpecError(message, job_id=job.id)
    return spec


def _estimate(
    spec: Priced, runs: Sequence[StoredRun], trials: Sequence[StoredTrial], slots: int | None
) -> CostEstimate:
    return estimate.estimate(plan(spec), took(runs, trials), slots=slots)


async def _slots(session: AsyncSession, spec: Priced, capacity: Capacity | None) -> int | None:
    """Return for how many runs of a job the cluster and the limits of its project have room at a time."""
    if capacity is None:
        return None
    asked = spec.resources
    room = [capacity.all_slots(asked.cpus, asked.gpus) // asked.workers]
    limits = (await projects.limits(session)).get(spec.project, Limits())
    if limits.max_running_jobs is not None and isinstance(spec, StudySpec):
        room.append(limits.max_running_jobs)
    if limits.max_gpus is not None and asked.all_gpus:
        room.append(limits.max_gpus // asked.all_gpus)
    return min(room)
