"""Cancels, pauses and resumes some of the jobs while they run, as a user does."""

from collections.abc import Mapping

import httpx

from fgd_core.spec.views import JobSummary
from tests.chaos.workload import UserAction


class User:
    """Carries out planned actions when their time comes."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._planned: dict[str, list[str]] = {}
        """Job id -> operations that are still to be done."""

    def plan(self, job_id: str, user_action: UserAction) -> None:
        self._planned[job_id] = ["cancel"] if user_action == "cancel" else ["pause", "resume"]

    def act_on(self, jobs: Mapping[str, JobSummary], *, may_cancel: bool) -> None:
        """Do what is due; an operation without an answer is repeated at the next call."""
        for job_id, operations in self._planned.items():
            job = jobs.get(job_id)
            if not operations or job is None or (operations[0] == "cancel" and not may_cancel):
                continue
            if _is_time(operations[0], job) and self._do(operations[0], job_id):
                operations.pop(0)

    def _do(self, operation: str, job_id: str) -> bool:
        try:
            answer = httpx.post(f"{self._url}/v1/jobs/{job_id}/{operation}", timeout=10, trust_env=False)
        except httpx.HTTPError:
            return False
        return answer.is_success


def _is_time(operation: str, job: JobSummary) -> bool:
    if operation == "resume":
        return job.state == "paused"
    return job.state == "running" and (job.progress.epoch or 0) >= 2
