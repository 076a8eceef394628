"""What a user does to some of the jobs while they run."""

from collections.abc import Mapping

import httpx

from fgd_core.spec.views import JobSummary
from tests.chaos.workload import Deed


class User:
    def __init__(self, url: str) -> None:
        self._url = url
        self._intents: dict[str, list[str]] = {}
        """Operations still to be done, by job."""

    def intends(self, job_id: str, deed: Deed) -> None:
        self._intents[job_id] = ["cancel"] if deed == "cancel" else ["pause", "resume"]

    def tend(self, jobs: Mapping[str, JobSummary]) -> None:
        """Do what its time has come for; what fails for want of an answer is done again the next time."""
        for job_id, operations in self._intents.items():
            job = jobs.get(job_id)
            if operations and job is not None and _is_time(operations[0], job) and self._do(operations[0], job_id):
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
