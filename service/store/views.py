"""Converts rows into the views that the API returns."""

from collections.abc import Sequence
from urllib.parse import quote

from pydantic import ValidationError

from fgd_core.spec.events import END_CAUSE
from fgd_core.spec.jobs import JOB_SPEC, JobSpec
from fgd_core.spec.results import ErrorReport, RunResult
from fgd_core.spec.views import ArtifactView, AttemptView, JobSummary, JobView, ProgressView
from service import links
from service.store import artifacts, attempts, jobs
from service.store.json_values import JsonObject
from service.store.tables import Artifact, Attempt, Job, JobDependency
from service.store.write_session import WriteSession


def summary(job: Job, tried: Sequence[Attempt] | None = None) -> JobSummary:
    """Return the short view of a job.

    Args:
        tried: the job's attempts; None if the caller does not need the run times.
    """
    running = [each.started_at for each in tried or () if each.started_at is not None and each.ended_at is None]
    return JobSummary(
        job_id=job.id,
        name=job.name,
        kind=job.kind,
        project=job.project,
        priority=job.priority,
        preemptible=job.preemptible,
        submitted_by=job.submitted_by,
        state=job.state,
        reason_code=job.reason,
        reason=job.message or None,
        progress=ProgressView.model_validate(job.progress),
        created_at=job.created_at,
        started_at=job.started_at,
        ended_at=job.ended_at,
        ran_s=_ran_s(tried) if tried is not None else None,
        running_since=running[-1] if running else None,
    )


async def load(session: WriteSession, job: Job) -> JobView:
    """Return the full view of a job; reads its dependencies, attempts and artifacts in this session."""
    return job_view(
        job,
        needs=await jobs.dependencies(session, job.id),
        attempts=await attempts.of_job(session, job.id),
        artifacts=await artifacts.of_job(session, job.id),
    )


def etag(version: int) -> str:
    """Return the ETag of a version of a job."""
    return f'"{version}"'


def run_page(attempt: Attempt) -> str | None:
    """Return the URL of the run on Ray's dashboard, through this server's address; None if Ray no longer lists it."""
    base = links.addressed() if attempt.dashboard_url is not None else None
    return links.run_page(base, attempt.submission_id) if base is not None else attempt.dashboard_url


def job_view(
    job: Job, *, needs: Sequence[JobDependency], attempts: Sequence[Attempt], artifacts: Sequence[Artifact]
) -> JobView:
    """Return the full view of a job from its rows."""
    try:
        spec: JobSpec | JsonObject = JOB_SPEC.validate_python(job.spec)
    except ValidationError:
        # An older version of this server stored the spec. The job cannot run any more, but its results can be read.
        spec = job.spec
    waits_for = sorted({dependency.needs_job_id for dependency in needs}) if job.state == "blocked" else []
    return JobView(
        **dict(summary(job, attempts)),
        spec=spec,
        waits_for=waits_for,
        failures=job.failures,
        losses=job.losses,
        version=job.version,
        attempts=[_attempt(attempt) for attempt in attempts],
        artifacts=[_artifact(artifact) for artifact in artifacts],
        error=_error(job.error),
        result=RunResult.model_validate(job.result) if job.result is not None else None,
        dashboard_url=run_page(attempts[-1]) if attempts else None,
        last_sequence=job.last_sequence,
    )


def _ran_s(tried: Sequence[Attempt]) -> float:
    return sum(
        (each.ended_at - each.started_at).total_seconds()
        for each in tried
        if each.started_at is not None and each.ended_at is not None
    )


def _attempt(attempt: Attempt) -> AttemptView:
    return AttemptView(
        attempt_id=attempt.id,
        number=attempt.number,
        submission_id=attempt.submission_id,
        dashboard_url=run_page(attempt),
        created_at=attempt.created_at,
        started_at=attempt.started_at,
        ended_at=attempt.ended_at,
        cause=END_CAUSE.validate_python(attempt.cause) if attempt.cause is not None else None,
        error=_error(attempt.error),
        released_at=attempt.archived_at,
        spec_changes=attempt.spec_changes or {},
    )


def _artifact(artifact: Artifact) -> ArtifactView:
    return ArtifactView(
        name=artifact.name,
        media_type=artifact.media_type,
        size_bytes=artifact.size_bytes,
        sha256=artifact.sha256,
        uri=artifact.uri,
        url=f"/v1/jobs/{artifact.job_id}/artifacts/{quote(artifact.name)}",
    )


def _error(stored: dict[str, object] | None) -> ErrorReport | None:
    return ErrorReport.model_validate(stored) if stored is not None else None
