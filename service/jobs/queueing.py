"""The records that scheduling works with: waiting jobs, running ones, the limits of projects, and reasons to wait."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat
from typing import Literal, NamedTuple

WaitCode = Literal[
    "busy", "growing", "too_large", "quota", "behind", "backoff", "dependencies", "cluster_away", "starts_now"
]


class Queued(NamedTuple):
    """A waiting job. It is a tuple, because ten thousand of them are made every second."""

    job_id: str
    project: str
    priority: int
    cpus: int
    """Of each worker. A worker with its CPUs and GPUs lies on one node; workers may lie on different nodes."""
    gpus: int
    tasks: int = 1
    """The trials that a sweep runs at once, each with its own workers; 1 for every other job."""
    workers: int = 1
    """The workers of each task."""
    min_workers: int = 1
    """A task takes at least so many workers at the same time, or none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Active:
    """An attempt that holds, or will soon hold, a part of the cluster."""

    job_id: str
    project: str
    priority: int
    cpus: int
    gpus: int
    is_placed: bool
    """Whether the cluster's free amounts already exclude it."""
    tasks: int = 1
    """As in `Queued`: the number of tasks that it wants to run at once."""
    workers: int = 1
    min_workers: int = 1
    is_preemptible: bool = False
    is_stopping: bool = False
    eta_s: float | None = None
    """Seconds until it ends, as it reports; None if it does not report."""


class Held(NamedTuple):
    """What a running job holds of the cluster."""

    job: Active
    workers: int
    """Of all its tasks together."""

    @property
    def cpus(self) -> int:
        return self.job.cpus * self.workers

    @property
    def gpus(self) -> int:
        return self.job.gpus * self.workers


def steps(job: Queued | Active) -> Iterator[int]:
    """Yield how many workers a job takes at a time: the first number is needed, the others as long as they fit.

    A sweep of two trials with 2 to 4 workers each yields 2, 1, 1, 2, 1, 1.
    """
    for _ in range(job.tasks):
        yield job.min_workers
        yield from repeat(1, job.workers - job.min_workers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of one project; None: no limit."""

    weight: float = 1.0
    max_running_jobs: int | None = None
    max_gpus: int | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """Why a job waits."""

    code: WaitCode
    message: str
    not_before_s: float | None = None
    """The earliest possible start, in seconds, by the running jobs' own estimates and behind the jobs ahead.

    None if there is no estimate, as for a job that waits for a waiting one to end; or if it can never start."""


def amount(cpus: float, gpus: float) -> str:
    """Write an amount: `4 CPUs and 1 GPU`."""
    return f"{_counted(cpus, 'CPU')} and {_counted(gpus, 'GPU')}" if gpus else _counted(cpus, "CPU")


def _counted(number: float, unit: str) -> str:
    return f"{number:g} {unit}{'' if number == 1 else 's'}"


def size(job: Queued) -> str:
    """Write what a job takes at least: `4 CPUs`, `3 workers of 4 CPUs`."""
    each = amount(job.cpus, job.gpus)
    return each if job.min_workers == 1 else f"{job.min_workers} workers of {each}"


def needed(job: Queued) -> str:
    """Write what a job needs to start: `4 CPUs on one node`, `3 workers of 4 CPUs, each on one node`."""
    return f"{size(job)} on one node" if job.min_workers == 1 else f"{size(job)}, each on one node"
