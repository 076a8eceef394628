"""Keeps the reasons of waiting jobs up to date: they change without an event."""

import contextlib
import itertools
import threading
from collections.abc import Iterator, Mapping, Sequence

from fgd_core.errors import FgdError
from fgd_core.spec.event_state import JobStatus
from fgd_core.spec.events import JobState
from fgd_core.spec.views import JobSummary
from service.client.client import FgdClient

_EVERY_S = 5.0
_WAITING: tuple[JobState, ...] = ("queued", "blocked")
_FEW = 10
"""Up to this number, jobs are requested one by one; more jobs are requested page by page."""
_MOST = 1000


@contextlib.contextmanager
def refreshed_reasons(client: FgdClient, statuses: Mapping[str, JobStatus]) -> Iterator[None]:
    """Update the reasons of the waiting jobs every few seconds, in a thread that ends with the block."""
    is_over = threading.Event()

    def refresh() -> None:
        while not is_over.is_set():
            # The event stream reports a server that does not answer.
            with contextlib.suppress(FgdError):
                for job in _waiting_jobs(client, list(statuses.values())):
                    status = statuses.get(job.job_id)
                    if status is not None and job.state == status.state:
                        status.doing = job.reason or ""
            is_over.wait(_EVERY_S)

    threading.Thread(target=refresh, daemon=True, name="reasons").start()
    try:
        yield
    finally:
        is_over.set()


def _waiting_jobs(client: FgdClient, statuses: Sequence[JobStatus]) -> Iterator[JobSummary]:
    waiting = [status.job_id for status in statuses if status.state in _WAITING]
    if len(waiting) <= _FEW:
        yield from (client.job(job_id) for job_id in waiting)
    else:
        yield from itertools.islice(client.jobs(state=_WAITING), _MOST)
