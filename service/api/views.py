"""Rows as answers."""

from collections.abc import Sequence
from urllib.parse import quote

from pydantic import ValidationError

from fgd_core.errors import SpecError
from fgd_core.spec.events import ErrorReport, RunResult
from fgd_core.spec.jobs import JOB_SPEC
from fgd_core.spec.views import ArtifactView, AttemptView, JobSummary, JobView, ProgressView
from service.store.tables import Artifact, Attempt, Job, JobDependency


def summary(job: Job) -> JobSummary:
    return JobSummary(
        job_id=job.id,
        name=job.name,
        kind=job.kind,
        state=job.state,
        reason=job.message or None,
        progress=ProgressView.model_validate(job.progress),
        created_at=job.created_at,
        started_at=job.started_at,
        ended_at=job.ended_at,
    )


def job_view(
    job: Job, *, needs: Sequence[JobDependency], attempts: Sequence[Attempt], artifacts: Sequence[Artifact]
) -> JobView:
    """Raises SpecError where an older version of this server stored a spec that is no longer valid."""
    try:
        spec = JOB_SPEC.validate_python(job.spec)
    except ValidationError as error:
        raise SpecError(
            f"the spec of job {job.id} was stored by an older version and cannot be read; submit it again",
            job_id=job.id,
            spec_version=job.spec_version,
        ) from error
    waits_for = sorted({dependency.needs_job_id for dependency in needs}) if job.state == "blocked" else []
    return JobView(
        **dict(summary(job)),
        spec=spec,
        waits_for=waits_for,
        attempts=[_attempt(attempt) for attempt in attempts],
        artifacts=[_artifact(artifact) for artifact in artifacts],
        error=_error(job.error),
        result=RunResult.model_validate(job.result) if job.result is not None else None,
        dashboard_url=attempts[-1].dashboard_url if attempts else None,
        last_sequence=job.last_sequence,
    )


def _attempt(attempt: Attempt) -> AttemptView:
    return AttemptView(
        attempt_id=attempt.id,
        number=attempt.number,
        submission_id=attempt.submission_id,
        dashboard_url=attempt.dashboard_url,
        created_at=attempt.created_at,
        started_at=attempt.started_at,
        ended_at=attempt.ended_at,
        error=_error(attempt.error),
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
