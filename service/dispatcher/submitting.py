"""Submits attempts to Ray."""

import os
import shlex

import structlog

from fgd_core.spec.readable import environment
from fgd_core.spec.tracing import for_run
from service.dispatcher.cluster import Submission
from service.dispatcher.context import Context
from service.dispatcher.leasing import Start
from service.tracing import OFF

log = structlog.get_logger(__name__)


async def submit(context: Context, start: Start) -> None:
    """Start the run of a stored attempt; submitting it twice starts it once.

    Raises:
        ClusterError: Ray is unreachable, or refuses.
    """
    settings = context.settings
    # A job that was submitted without a trace gets none here.
    tracing = context.tracing if start.traceparent is not None else OFF
    attributes = start.span_attributes
    with tracing.span("submit to Ray", kind="client", parent=start.traceparent, attributes=attributes) as span:
        await context.cluster.submit(
            Submission(
                submission_id=start.submission_id,
                entrypoint=f"{shlex.quote(settings.python)} -m workers",
                environment={
                    "FGD_URL": settings.public_url,
                    "FGD_ATTEMPT_ID": start.attempt_id,
                    "FGD_ATTEMPT_CLAIM": context.mint.claim(start.attempt_id),
                    **environment(settings.data_roots, settings.jobs_of_others),
                    **for_run(span.traceparent or start.traceparent, os.environ),
                },
                cpus=start.cpus,
                gpus=start.gpus,
                metadata=start.metadata,
            )
        )
        log.info("run_submitted", job_id=start.job_id, submission_id=start.submission_id)
