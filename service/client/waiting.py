"""Why jobs wait, kept up to date: it changes without an event."""

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
"""So many are asked for one by one; more, a page at a time."""
_MOST = 1000


def keep_reasons(client: FgdClient, standings: Mapping[str, JobStatus]) -> None:
    """Ask now and then for the reasons of the jobs that wait, in a thread that ends with the process."""

    def ask() -> None:
        pause = threading.Event()
        while True:
            # A server that is away is the event stream's to tell.
            with contextlib.suppress(FgdError):
                for job in _waiting_jobs(client, list(standings.values())):
                    standing = standings.get(job.job_id)
                    if standing is not None and job.state == standing.state:
                        standing.doing = job.reason or ""
            pause.wait(_EVERY_S)

    threading.Thread(target=ask, daemon=True, name="reasons").start()


def _waiting_jobs(client: FgdClient, standings: Sequence[JobStatus]) -> Iterator[JobSummary]:
    waiting = [standing.job_id for standing in standings if standing.state in _WAITING]
    if len(waiting) <= _FEW:
        yield from (client.job(job_id) for job_id in waiting)
    else:
        yield from itertools.islice(client.jobs(state=_WAITING), _MOST)
