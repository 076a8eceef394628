"""Creates attempts: the move of a job from queued to starting, before its run exists."""

from collections.abc import Callable
from datetime import datetime

from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncSession

from fgd_core.errors import OutOfMemoryError, SpecError
from fgd_core.spec.control_events import AttemptStarted
from fgd_core.spec.jobs import JOB_SPEC
from fgd_core.spec.refusals import spec_reasons
from fgd_core.spec.results import ErrorReport
from service.jobs.lifecycle import Reason
from service.jobs.outcome import Step
from service.jobs.retry import halved
from service.store import attempts, jobs
from service.store.tables import Attempt, Job
from service.store.tokens import TokenMint, digest


async def lease(
    session: AsyncSession, job_id: str, mint: TokenMint, run_page: Callable[[str], str], now: datetime
) -> tuple[Job, Attempt] | None:
    """Store a new attempt at a queued job, before Ray gets it.

    Args:
        run_page: (submission id) -> address of the run's page on Ray's dashboard.
    Returns:
        The attempt, to be submitted after the commit. None if the job is no longer queued, or if its stored spec is no
        longer valid; then the job has failed.
    """
    job = await jobs.get(session, job_id, lock=True)
    if job.state != "queued":
        return None
    invalid = _invalid_spec(job)
    if invalid is not None:
        step = Step(to="failed", reason=Reason.SPEC_INVALID, message=invalid.message, error=invalid)
        await jobs.move(session, job, step, now=now)
        return None
    earlier = await attempts.of_job(session, job_id)
    number = len(earlier) + 1
    num_out_of_memory = sum((attempt.error or {}).get("code") == OutOfMemoryError.code for attempt in earlier)
    attempt_id = f"{job_id}-{number}"
    submission_id = f"fgd-{attempt_id}"
    url = run_page(submission_id)
    attempt = Attempt(
        id=attempt_id,
        job_id=job_id,
        number=number,
        token_sha256=digest(mint.token(attempt_id)),
        submission_id=submission_id,
        dashboard_url=url,
        spec_changes=halved(job.spec, num_out_of_memory) or None,
        created_at=now,
    )
    session.add(attempt)
    await jobs.move(
        session,
        job,
        Step(to="starting", reason=Reason.LEASED),
        now=now,
        attempt=number,
        extra=[AttemptStarted(number=number, submission_id=submission_id, dashboard_url=url)],
        columns={Job.current_attempt_id: attempt_id, Job.resumes_itself: False},
    )
    return job, attempt


def _invalid_spec(job: Job) -> ErrorReport | None:
    """Return the error of a stored spec that this version cannot read; None if it can."""
    try:
        JOB_SPEC.validate_python(job.spec)
    except ValidationError as invalid:
        return ErrorReport(
            code=SpecError.code,
            message="the spec was stored by another version of this server and is no longer valid; submit it again",
            details={
                "spec_version": job.spec_version,
                "reasons": [reason.model_dump() for reason in spec_reasons(invalid)],
            },
        )
    return None
