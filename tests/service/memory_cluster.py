"""A cluster in memory: a submitted run exists until it is deleted."""

import asyncio
from collections.abc import Callable, Mapping

import httpx

from fgd_core.errors import ClusterError
from service.dispatcher.cluster import ClusterAwayError, Submission
from service.dispatcher.excerpts import Excerpt, Gathering
from service.jobs.cluster import Capacity, ClusterJob, ClusterStatus, Node

TWO_CORES = Capacity((Node(node_id="here", cpus_total=2, cpus_free=2),))


def excerpt_of(*blocks: bytes) -> Excerpt:
    """Make an excerpt of a log that is given in blocks."""
    gathering = Gathering()
    for block in blocks:
        gathering.add(block)
    return gathering.excerpt()


class MemoryCluster:
    def __init__(self, capacity: Capacity = TWO_CORES) -> None:
        self.is_reachable = True
        self.refuses: set[str] = set()
        """Runs for which every request is refused."""
        self.submissions: list[Submission] = []
        self.was_asked = asyncio.Event()
        """Set at the first submission."""
        self.stopped: list[str] = []
        self.refuses_logs: set[str] = set()
        """Runs whose log it refuses to send."""
        self.output: dict[str, str | bytes] = {}
        self.largest = capacity
        self.browsed: list[httpx.Request] = []
        self.dashboard: Callable[[httpx.Request], httpx.Response] = lambda request: httpx.Response(404)
        """Answers of its dashboard."""
        self._jobs: dict[str, ClusterJob] = {}

    async def submit(self, submission: Submission) -> None:
        self._answer()
        if submission.submission_id not in self._jobs:
            self.submissions.append(submission)
            self.was_asked.set()
            self.say(submission.submission_id, "PENDING")

    async def job(self, submission_id: str) -> ClusterJob | None:
        self._answer()
        if submission_id in self.refuses:
            raise ClusterError("Ray could not report the state of a run")
        return self._jobs.get(submission_id)

    async def jobs(self) -> Mapping[str, ClusterJob]:
        self._answer()
        if self.refuses:
            raise ClusterError("Ray could not list its runs")
        return dict(self._jobs)

    async def stop(self, submission_id: str) -> None:
        self._answer()
        if submission_id in self._jobs and not self._jobs[submission_id].is_over:
            self.stopped.append(submission_id)
            self.say(submission_id, "STOPPED")

    async def logs(self, submission_id: str) -> Excerpt:
        self._answer()
        if submission_id in self.refuses_logs:
            raise ClusterError("Ray could not send a run's log", status=500, cause="'utf-8' codec can't decode")
        output = self.output.get(submission_id, "")
        return excerpt_of(output.encode() if isinstance(output, str) else output)

    async def delete(self, submission_id: str) -> None:
        self._answer()
        run = self._jobs.pop(submission_id, None)
        assert run is None or run.is_over, "Ray refuses to delete a job that runs"

    async def capacity(self) -> Capacity:
        self._answer()
        return self.largest

    async def version(self) -> str:
        self._answer()
        return "in memory"

    async def browse(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> httpx.Response:
        self._answer()
        request = httpx.Request(method, f"http://ray{target}", headers=headers, content=body)
        self.browsed.append(request)
        return self.dashboard(request)

    def say(self, submission_id: str, status: ClusterStatus, message: str = "") -> None:
        """Set the state that the cluster reports of a run from now on."""
        self._jobs[submission_id] = ClusterJob(submission_id=submission_id, status=status, message=message)

    def forget(self, submission_id: str) -> None:
        self._jobs.pop(submission_id, None)

    def knows(self, submission_id: str) -> bool:
        return submission_id in self._jobs

    def _answer(self) -> None:
        if not self.is_reachable:
            raise ClusterAwayError("Ray cannot be reached at http://ray; start it")
