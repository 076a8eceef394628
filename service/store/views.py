"""Converts rows into the views that the API returns."""

from collections.abc import Sequence
from urllib.parse import quote

from fgd_core.spec.study_runs import PartOfStudy
from fgd_core.spec.views import ArtifactView, AttemptView, JobSummary, JobView
from service import links
from service.store import artifacts, attempts, jobs, study_runs
from service.store.attempts import ran_s
from service.store.study_runs import StudyRun
from service.store.tables import Artifact, Attempt, Job, JobDependency, columns
from service.store.tables.json_values import JsonObject
from service.store.write_session import WriteSession


def summary(job: Job, tried: Sequence[Attempt] | None = None) -> JobSummary:
    """Return the short view of a job.

    Args:
        tried: the job's attempts; None if the caller does not need the run times.
    """
    return JobSummary.model_validate(_summary(job, tried))


async def load(session: WriteSession, job: Job) -> JobView:
    """Return the full view of a job; reads its dependencies, attempts and artifacts in this session."""
    return job_view(
        job,
        needs=await jobs.dependencies(session, job.id),
        attempts=await attempts.of_job(session, job.id),
        artifacts=await artifacts.of_job(session, job.id),
        runs=await study_runs.of_study(session, job.id) if job.kind == "study" else [],
        part_of=await study_runs.study_of(session, job.id),
    )


def etag(version: int) -> str:
    """Return the ETag of a version of a job."""
    return f'"{version}"'


def run_page(attempt: Attempt) -> str | None:
    """Return the URL of the run on Ray's dashboard, through this server's address; None if Ray no longer lists it."""
    base = links.addressed() if attempt.dashboard_url is not None else None
    return links.run_page(base, attempt.submission_id) if base is not None else attempt.dashboard_url


def job_view(
    job: Job,
    *,
    needs: Sequence[JobDependency],
    attempts: Sequence[Attempt],
    artifacts: Sequence[Artifact],
    runs: Sequence[StudyRun] = (),
    part_of: PartOfStudy | None = None,
) -> JobView:
    """Return the full view of a job from its rows."""
    waits_for = sorted({dependency.needs_job_id for dependency in needs}) if job.state == "blocked" else []
    more = {
        "waits_for": waits_for,
        "attempts": [_attempt(attempt) for attempt in attempts],
        "artifacts": [_artifact(artifact) for artifact in artifacts],
        "dashboard_url": run_page(attempts[-1]) if attempts else None,
        "study_runs": [study_runs.view(run) for run in runs],
        "part_of": part_of,
    }
    return JobView.model_validate(_summary(job, attempts) | more)


def _summary(job: Job, tried: Sequence[Attempt] | None) -> JsonObject:
    running = [each.started_at for each in tried or () if each.started_at is not None and each.ended_at is None]
    return columns(job) | {
        "job_id": job.id,
        "seed": job.spec.get("seed"),
        "reason_code": job.reason,
        "reason": job.message or None,
        "ran_s": ran_s(tried) if tried is not None else None,
        "running_since": running[-1] if running else None,
    }


def _attempt(attempt: Attempt) -> AttemptView:
    more = {
        "attempt_id": attempt.id,
        "dashboard_url": run_page(attempt),
        "released_at": attempt.archived_at,
        "spec_changes": attempt.spec_changes or {},
    }
    return AttemptView.model_validate(columns(attempt) | more)


def _artifact(artifact: Artifact) -> ArtifactView:
    url = f"/v1/jobs/{artifact.job_id}/artifacts/{quote(artifact.name)}"
    return ArtifactView.model_validate(columns(artifact) | {"url": url})
