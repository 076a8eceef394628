"""Creates attempts: the move of a job from queued to starting, before its run exists."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncSession

from fgd_core.errors import OutOfMemoryError, SpecError
from fgd_core.spec.events import AttemptStarted
from fgd_core.spec.jobs import JOB_SPEC
from fgd_core.spec.refusals import spec_reasons
from fgd_core.spec.results import ErrorReport
from service.jobs.lifecycle import Reason
from service.jobs.outcome import Step
from service.jobs.retry import halved
from service.store import attempts, jobs
from service.store.tables import Attempt, Job
from service.store.tokens import TokenMint, digest

MAX_SPEC_CHARS = 2000
"""Ray keeps the metadata of all runs in memory, and sends all of it with every list of runs."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """Describes an attempt that is stored and has to be submitted."""

    job_id: str
    name: str
    kind: str
    cpus: int
    """CPUs that its own process claims: 0 for a sweep, whose trials claim their own."""
    gpus: int
    attempt_id: str
    number: int
    submission_id: str
    spec: str
    """JSON, cut to `MAX_SPEC_CHARS`."""
    queued_at: datetime | None = None
    traceparent: str | None = None

    @property
    def metadata(self) -> dict[str, str]:
        """The metadata that Ray's dashboard shows of the run and of its driver, which inherits it."""
        return {
            # The dashboard's lists show and search this key; without it every run is "-" and "python -m workers".
            "job_name": f"{self.name} ({self.kind})",
            "job_id": self.job_id,
            "name": self.name,
            "kind": self.kind,
            "attempt": str(self.number),
            "spec": self.spec,
        }

    @property
    def span_attributes(self) -> dict[str, str | int]:
        """The attributes by which a person finds its spans."""
        return {"fgd.job_id": self.job_id, "fgd.kind": self.kind, "fgd.attempt": self.number}

    @classmethod
    def of(cls, job: Job, *, attempt_id: str, number: int, submission_id: str) -> "Start":
        """Describe a new attempt at `job`."""
        is_sweep = job.kind == "sweep"
        return cls(
            job_id=job.id,
            name=job.name,
            kind=job.kind,
            cpus=0 if is_sweep else job.cpus,
            gpus=0 if is_sweep else job.gpus,
            attempt_id=attempt_id,
            number=number,
            submission_id=submission_id,
            spec=_shortened(json.dumps(job.spec, ensure_ascii=False, separators=(",", ":"))),
            queued_at=job.queued_at,
            traceparent=job.traceparent,
        )

    @classmethod
    def again(cls, job: Job, attempt: Attempt) -> "Start":
        """Describe a stored attempt whose submission may have been lost."""
        return cls.of(job, attempt_id=attempt.id, number=attempt.number, submission_id=attempt.submission_id)


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_SPEC_CHARS else f"{text[: MAX_SPEC_CHARS - 1]}…"


async def lease(
    session: AsyncSession, job_id: str, mint: TokenMint, run_page: Callable[[str], str], now: datetime
) -> Start | None:
    """Store a new attempt at a queued job, before Ray gets it.

    Args:
        run_page: (submission id) -> address of the run's page on Ray's dashboard.
    Returns:
        What to submit after the commit. None if the job is no longer queued, or if its stored spec is no longer valid;
        then the job has failed.
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
    await attempts.insert_attempt(
        session,
        attempt_id=attempt_id,
        job_id=job_id,
        number=number,
        token_sha256=digest(mint.token(attempt_id)),
        submission_id=submission_id,
        dashboard_url=url,
        spec_changes=halved(job.spec, num_out_of_memory) or None,
        now=now,
    )
    await jobs.move(
        session,
        job,
        Step(to="starting", reason=Reason.LEASED),
        now=now,
        attempt=number,
        extra=[AttemptStarted(number=number, submission_id=submission_id, dashboard_url=url)],
        columns={Job.current_attempt_id: attempt_id, Job.resumes_itself: False},
    )
    return Start.of(job, attempt_id=attempt_id, number=number, submission_id=submission_id)


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
