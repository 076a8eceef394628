"""Asks the server for the predictions and the costs of the jobs that a command shows."""

import contextlib
import time
from collections.abc import Iterable

from fgd_core.errors import FgdError
from fgd_core.spec.costs import PRICED_KINDS, JobCost
from fgd_core.spec.event_state import JobStatus
from fgd_core.spec.prediction import PREDICTED_KINDS, PredictionView
from service.client.client import FgdClient

_COUNT_EVERY_S = 15.0
"""The server needs up to a tenth of a second for a cost."""


class Predictions:
    """Updates what no event says: predictions of running jobs, each at most once after each epoch, and what is left of
    studies."""

    def __init__(self, client: FgdClient) -> None:
        self._client = client
        self._asked_at: dict[str, int | None] = {}
        self._next_count_s = 0.0

    def refresh(self, jobs: Iterable[JobStatus]) -> None:
        """Ask for the predictions of jobs that have finished an epoch since the last time."""
        for job in jobs:
            epoch = job.progress.epoch
            if job.state == "running" and job.progress.ap is not None and self._asked_at.get(job.job_id) != epoch:
                self._asked_at[job.job_id] = epoch
                found = predicted(self._client, job.job_id, job.kind)
                job.prediction = found.sentence if found is not None else ""

    def count_runs(self, jobs: Iterable[JobStatus]) -> list[JobStatus]:
        """Ask how many runs of each unfinished study have ended and how long it still takes, if it is time to.

        Returns:
            The studies with new figures.
        """
        if time.monotonic() < self._next_count_s:
            return []
        counted = []
        self._next_count_s = time.monotonic() + _COUNT_EVERY_S
        for job in jobs:
            cost = priced(self._client, job.job_id, job.kind) if job.kind == "study" and not job.is_over else None
            if cost is not None:
                planned = sum(each.count for each in cost.expected.runs)
                counts = {"step": cost.spent.runs, "steps": planned, "eta_s": cost.left_s}
                job.progress = job.progress.model_copy(update=counts)
                counted.append(job)
        return counted

    def first(self, job: JobStatus) -> str | None:
        """Return the prediction at a job's first tenth, once, after the evaluation that belongs to it."""
        if job.prediction:
            return None
        found = predicted(self._client, job.job_id, job.kind)
        tenth = [made for made in found.predictions if made.moment == "first_tenth"] if found is not None else []
        if not tenth:
            return None
        job.prediction = tenth[0].sentence
        return job.prediction


def predicted(client: FgdClient, job_id: str, kind: str) -> PredictionView | None:
    """Return the prediction of a job; None for other kinds of jobs, and if the server has none for us.

    A prediction is never worth an error: an older server has no predictions.
    """
    if kind not in PREDICTED_KINDS:
        return None
    with contextlib.suppress(FgdError):
        return client.prediction(job_id)
    return None


def priced(client: FgdClient, job_id: str, kind: str) -> JobCost | None:
    """Return the cost of a job; None as for `predicted`."""
    if kind not in PRICED_KINDS:
        return None
    with contextlib.suppress(FgdError):
        return client.cost(job_id)
    return None
