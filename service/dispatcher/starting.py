"""From blocked to queued to leased: the moves of a job before its run exists."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncSession

from fgd_core.errors import OutOfMemoryError, SpecError
from fgd_core.spec.events import AttemptStarted, PauseRequested
from fgd_core.spec.jobs import JOB_SPEC
from fgd_core.spec.refusals import spec_reasons
from fgd_core.spec.results import ErrorReport
from service.jobs.lifecycle import Reason
from service.jobs.outcome import Step
from service.jobs.retry import halved
from service.store import artifacts, attempts, jobs
from service.store.tables import Attempt, Job
from service.store.tokens import TokenMint, digest

MAX_SPEC_CHARS = 2000
"""Ray keeps the metadata of all runs in memory, and hands all of it out with its list of them."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """An attempt that is written down and has to be submitted."""

    job_id: str
    name: str
    kind: str
    cpus: int
    """That its process claims; a sweep's none, for each of its trials claims its own."""
    gpus: int
    attempt_id: str
    number: int
    submission_id: str
    spec: str
    """As JSON, cut where it is long."""
    queued_at: datetime | None = None
    traceparent: str | None = None

    @property
    def metadata(self) -> dict[str, str]:
        """What Ray's dashboard shows of the run, and of its driver, which inherits it."""
        return {
            # The key that its lists show and search; without it every run reads "-" and "python -m workers".
            "job_name": f"{self.name} ({self.kind})",
            "job_id": self.job_id,
            "name": self.name,
            "kind": self.kind,
            "attempt": str(self.number),
            "spec": self.spec,
        }

    @property
    def traced_as(self) -> dict[str, str | int]:
        """What its spans are found by."""
        return {"fgd.job_id": self.job_id, "fgd.kind": self.kind, "fgd.attempt": self.number}

    @classmethod
    def of(cls, job: Job, *, attempt_id: str, number: int, submission_id: str) -> "Start":
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
        return cls.of(job, attempt_id=attempt.id, number=attempt.number, submission_id=attempt.submission_id)


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_SPEC_CHARS else f"{text[: MAX_SPEC_CHARS - 1]}…"


async def unblock(session: AsyncSession, job_id: str, now: datetime) -> None:
    """Queue a job whose needs are met; fail it where one of them never will be."""
    job = await jobs.get(session, job_id, lock=True)
    if job.state != "blocked":
        return
    dependencies = await jobs.dependencies(session, job_id)
    needed = await jobs.states(session, {dependency.needs_job_id for dependency in dependencies})
    for dependency in dependencies:
        other = needed[dependency.needs_job_id]
        problem = None
        if other.state in ("failed", "cancelled"):
            problem = f"job {other.id}, whose {dependency.artifact} it needs, is {other.state}"
        elif other.state == "succeeded" and await artifacts.get(session, other.id, dependency.artifact) is None:
            problem = f"job {other.id} succeeded and left no {dependency.artifact}"
        if problem is not None:
            error = ErrorReport(
                code=Reason.DEPENDENCY_FAILED.value,
                message=f"{problem}; submit that job again, and this one with its new id",
                details={"job_id": other.id, "artifact": dependency.artifact},
            )
            step = Step(to="failed", reason=Reason.DEPENDENCY_FAILED, message=error.message, error=error)
            await jobs.move(session, job, step, now=now)
            return
    waits_for = sorted({other.id for other in needed.values() if other.state != "succeeded"})
    if waits_for:
        await jobs.explain(session, [job.id], "blocked", f"waits for {', '.join(waits_for)}")
    else:
        await jobs.move(session, job, Step(to="queued", reason=Reason.DEPENDENCIES_MET), now=now)


async def make_way(session: AsyncSession, job_id: str, urgent_id: str, now: datetime) -> None:
    """Ask a run to pause for a job of higher priority; it is queued again once it stands still."""
    job = await jobs.get(session, job_id, lock=True)
    if job.state != "running" or not job.preemptible:
        return
    step = Step(to="pausing", reason=Reason.PREEMPTED, message=f"makes room for {urgent_id}")
    asked = PauseRequested(for_job=urgent_id)
    await jobs.move(session, job, step, now=now, extra=[asked], columns={Job.resumes_itself: True})


async def lease(
    session: AsyncSession, job_id: str, mint: TokenMint, run_page: Callable[[str], str], now: datetime
) -> Start | None:
    """Write a new attempt at a queued job down, before anyone else hears of it.

    Returns:
        What to submit once this transaction is committed; None where the job does not wait any more, or where its
        stored spec is no longer valid, and it has failed for that.
    """
    job = await jobs.get(session, job_id, lock=True)
    if job.state != "queued":
        return None
    try:
        JOB_SPEC.validate_python(job.spec)
    except ValidationError as invalid:
        error = ErrorReport(
            code=SpecError.code,
            message="the spec was stored by another version of this server and is no longer valid; submit it again",
            details={
                "spec_version": job.spec_version,
                "reasons": [reason.model_dump() for reason in spec_reasons(invalid)],
            },
        )
        step = Step(to="failed", reason=Reason.SPEC_INVALID, message=error.message, error=error)
        await jobs.move(session, job, step, now=now)
        return None
    earlier = await attempts.of_job(session, job_id)
    number = len(earlier) + 1
    changes = halved(job.spec, sum((attempt.error or {}).get("code") == OutOfMemoryError.code for attempt in earlier))
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
        spec_changes=changes or None,
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
