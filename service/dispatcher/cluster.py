"""What the dispatcher asks of a cluster, and Ray's answer to it over its Jobs REST API."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

ClusterStatus = Literal["PENDING", "RUNNING", "STOPPED", "SUCCEEDED", "FAILED"]


@dataclass(frozen=True, kw_only=True)
class Submission:
    submission_id: str
    """Deterministic: submitting it twice starts it once."""
    entrypoint: str
    environment: Mapping[str, str]
    cpus: int
    gpus: int
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Shown on the Ray dashboard: job id, name, kind, attempt."""


@dataclass(frozen=True, kw_only=True)
class ClusterJob:
    submission_id: str
    status: ClusterStatus
    message: str

    @property
    def is_over(self) -> bool:
        return self.status in ("STOPPED", "SUCCEEDED", "FAILED")


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """Sums over live nodes."""

    cpus_total: float
    cpus_free: float
    gpus_total: float
    gpus_free: float
    largest_node_cpus: float
    largest_node_gpus: float


class Cluster(Protocol):
    """Every method raises ClusterError when Ray cannot be reached, which says nothing about the jobs on it."""

    async def submit(self, submission: Submission) -> None:
        """Start a run, unless one with this id was started before."""
        ...

    async def job(self, submission_id: str) -> ClusterJob | None:
        """The run's state; None when the cluster has never heard of it."""
        ...

    async def stop(self, submission_id: str) -> None:
        """Ask Ray to end the run: SIGTERM, then SIGKILL. Unknown or ended runs are left alone."""
        ...

    async def logs(self, submission_id: str) -> str:
        """The driver's output so far; empty when there is none."""
        ...

    async def delete(self, submission_id: str) -> None:
        """Forget an ended run."""
        ...

    async def capacity(self) -> Capacity: ...

    async def version(self) -> str: ...

    def dashboard_url(self, submission_id: str) -> str: ...
