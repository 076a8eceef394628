"""Submits attempts to Ray."""

import json
import os
import shlex

import structlog

from fgd_core.spec.readable import environment
from fgd_core.spec.tracing import for_run
from service.dispatcher.cluster import Submission
from service.dispatcher.context import Context
from service.store.tables import Attempt, Job
from service.tracing import OFF

MAX_SPEC_CHARS = 2000
"""Ray keeps the metadata of all runs in memory, and sends all of it with every list of runs."""

log = structlog.get_logger(__name__)


async def submit(context: Context, job: Job, attempt: Attempt) -> None:
    """Start the run of a stored attempt; submitting it twice starts it once.

    Raises:
        ClusterError: Ray is unreachable, or refuses.
    """
    settings = context.settings
    # A job that was submitted without a trace gets none here.
    tracing = context.tracing if job.traceparent is not None else OFF
    attributes = span_attributes(job, attempt)
    # The driver of a sweep, or of several workers, claims nothing: trials and workers claim their own resources.
    cpus, gpus = (0, 0) if job.kind == "sweep" or job.workers > 1 else (job.cpus, job.gpus)
    with tracing.span("submit to Ray", kind="client", parent=job.traceparent, attributes=attributes) as span:
        await context.cluster.submit(
            Submission(
                submission_id=attempt.submission_id,
                # The kind and the id are for people who read Ray's dashboard; a spec's free text never comes in here.
                entrypoint=f"{shlex.quote(settings.python)} -m workers {job.kind} {attempt.id}",
                environment={
                    "FGD_URL": settings.public_url,
                    "FGD_ATTEMPT_ID": attempt.id,
                    "FGD_ATTEMPT_CLAIM": context.mint.claim(attempt.id),
                    **environment(settings.data_roots, settings.jobs_of_others),
                    **for_run(span.traceparent or job.traceparent, os.environ),
                },
                cpus=cpus,
                gpus=gpus,
                metadata=_metadata(job, attempt),
            )
        )
        log.info("run_submitted", job_id=job.id, submission_id=attempt.submission_id)


def span_attributes(job: Job, attempt: Attempt) -> dict[str, str | int]:
    """Return the attributes by which a person finds the spans of an attempt."""
    return {"fgd.job_id": job.id, "fgd.kind": job.kind, "fgd.attempt": attempt.number}


def _metadata(job: Job, attempt: Attempt) -> dict[str, str]:
    """Return the metadata that Ray's dashboard shows of the run and of its driver, which inherits it."""
    spec = json.dumps(job.spec, ensure_ascii=False, separators=(",", ":"))
    return {
        # The dashboard's lists show and search this key; without it every run is "-".
        "job_name": f"{job.name} ({job.kind})",
        "job_id": job.id,
        "name": job.name,
        "kind": job.kind,
        "attempt": str(attempt.number),
        "spec": spec if len(spec) <= MAX_SPEC_CHARS else f"{spec[: MAX_SPEC_CHARS - 1]}…",
    }
