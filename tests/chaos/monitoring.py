"""Polls the list of jobs, as a user does."""

import threading
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from fgd_core.errors import FgdError
from fgd_core.spec.views import JobSummary
from service.client.client import FgdClient

POLL_S = 0.4
T = TypeVar("T")


def answered(request: Callable[[], T], *, timeout_s: float = 120.0) -> T:
    """Repeat a request until it is answered: the server may be down at the moment.

    Raises:
        FgdError: a refusal that a retry would not change; or no answer in time.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return request()
        except FgdError as error:
            if not error.retryable or time.monotonic() > deadline:
                raise
            time.sleep(0.2)


class Monitor:
    """Polls in a thread, and records when something changed."""

    def __init__(self, url: str) -> None:
        self.jobs: Mapping[str, JobSummary] = {}
        """Newest state of each job, by id."""
        self.changed_at: list[float] = []
        """Wall-clock time of each poll that showed a change."""
        self.refusals: list[str] = []
        """Errors that are not retryable: each of them is a defect."""
        self._url = url
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="monitor", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._is_over.set()
        if self._thread.ident is not None:
            self._thread.join(60)

    def _run(self) -> None:
        with FgdClient(self._url, timeout_s=10) as client:
            while not self._is_over.wait(POLL_S):
                try:
                    jobs = {job.job_id: job for job in client.jobs()}
                except FgdError as error:
                    if not error.retryable:
                        self.refusals.append(f"{type(error).__name__}: {error}")
                    continue
                if _progress(jobs) != _progress(self.jobs):
                    self.changed_at.append(time.time())
                self.jobs = jobs


def _progress(jobs: Mapping[str, JobSummary]) -> dict[str, tuple[str, int | None]]:
    return {job_id: (job.state, job.progress.step) for job_id, job in jobs.items()}
