"""What a user sees of it: the list of jobs, asked for again and again."""

import threading
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from fgd_core.errors import FgdError
from fgd_core.spec.views import JobSummary
from service.client.client import FgdClient

POLL_S = 0.4
T = TypeVar("T")


def patiently(ask: Callable[[], T], *, timeout_s: float = 120.0) -> T:
    """Ask until there is an answer: whoever is asked may be dead at the moment.

    Raises:
        FgdError: a refusal, which asking again would not change; or nobody answered in time.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return ask()
        except FgdError as error:
            if not error.retryable or time.monotonic() > deadline:
                raise
            time.sleep(0.2)


class Watch:
    """Polls in a thread of its own, and remembers when something moved."""

    def __init__(self, url: str) -> None:
        self.jobs: Mapping[str, JobSummary] = {}
        """As last seen, by id."""
        self.moved_at: list[float] = []
        """Wall clock of each poll that showed something new."""
        self.refusals: list[str] = []
        """Answers that were neither an answer nor a "come again": each of them is a defect."""
        self._url = url
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

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
                if _standing(jobs) != _standing(self.jobs):
                    self.moved_at.append(time.time())
                self.jobs = jobs


def _standing(jobs: Mapping[str, JobSummary]) -> dict[str, tuple[str, int | None]]:
    return {job_id: (job.state, job.progress.step) for job_id, job in jobs.items()}
