"""Decides which queued jobs start now, which wait and why, and which runs are preempted."""

import heapq
import math
from bisect import bisect_left
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Literal, NamedTuple

from service.jobs.cluster import Capacity

WaitCode = Literal["busy", "too_large", "quota", "behind", "backoff", "dependencies", "cluster_away", "starts_now"]


class Queued(NamedTuple):
    """A waiting job. It is a tuple, because ten thousand of them are made every second."""

    job_id: str
    project: str
    priority: int
    cpus: int
    gpus: int
    tasks: int = 1
    """The trials that a sweep runs at once, each with these CPUs and GPUs, on any node; 1 for every other job."""


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
    is_preemptible: bool = False
    is_stopping: bool = False
    eta_s: float | None = None
    """Seconds until it ends, as it reports; None if it does not report."""


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


@dataclass(frozen=True)
class Choice:
    """What the scheduler decided."""

    start: list[str] = field(default_factory=list)
    """Job ids, in order."""
    wait: dict[str, Wait] = field(default_factory=dict)
    """By job id, in order."""
    pause: dict[str, str] = field(default_factory=dict)
    """Job id of a run to preempt -> the job that needs its room."""


def choose(
    queued: Sequence[Queued],
    *,
    active: Sequence[Active],
    capacity: Capacity,
    limits: Mapping[str, Limits],
    max_waits: int | None = None,
) -> Choice:
    """Start jobs by priority, then by fair share between projects, then oldest first.

    Fair share: among equal priorities the project goes first that holds the smallest part of the cluster for its
    weight, counted in CPUs or GPUs, whichever part is larger (dominant resource fairness, Ghodsi et al. 2011). A job
    may overtake a waiting job only if it takes nothing that the waiting job needs.

    A sweep starts once one of its tasks fits, and takes as many as fit: it works with any number of trials at a time.
    While it runs, resources that come free are reserved for its remaining tasks. The sweep's trials claim them directly
    from Ray; another job, sent to Ray for the same resources, might wait in Ray's queue for days.

    Args:
        queued: oldest first.
        max_waits: number of waits to explain; once no more jobs can start, the remaining jobs are ignored.
    """
    held = _held(active, capacity)
    room = _Room(held, capacity)
    usage = _Usage(held, capacity, limits)
    choice = Choice()
    for job in _in_order(queued, usage):
        if max_waits is not None and len(choice.wait) >= max_waits and room.is_exhausted:
            break
        if not any(node.could_hold(job.cpus, job.gpus) for node in capacity.nodes):
            choice.wait[job.job_id] = _too_large(job, capacity)
            continue
        refusal = usage.over_quota(job, capacity)
        if refusal is not None:
            choice.wait[job.job_id] = refusal
            continue
        tasks = room.take(job)
        if tasks:
            choice.start.append(job.job_id)
            usage.run(job, tasks)
        else:
            choice.wait[job.job_id] = room.why_not(job)
            choice.pause.update(room.preempt_for(job))
            # It reserves its share even so; without that a stream of small jobs would starve it.
            room.reserve(job)
        usage.count(job, tasks or 1)
    return choice


def _in_order(queued: Iterable[Queued], usage: "_Usage") -> Iterable[Queued]:
    by_priority: dict[int, dict[str, deque[tuple[int, Queued]]]] = {}
    for age, job in enumerate(queued):
        by_priority.setdefault(job.priority, {}).setdefault(job.project, deque()).append((age, job))
    for priority in sorted(by_priority, reverse=True):
        projects = by_priority[priority]
        heap = [(usage.share(project), jobs[0][0], project) for project, jobs in projects.items()]
        heapq.heapify(heap)
        while heap:
            _, _, project = heapq.heappop(heap)
            yield projects[project].popleft()[1]
            if projects[project]:
                # Its share has grown by the job that was just yielded.
                heapq.heappush(heap, (usage.share(project), projects[project][0][0], project))


def _held(active: Sequence[Active], capacity: Capacity) -> Sequence[Active]:
    """Limit the tasks of each sweep to what the cluster can hold in addition to all other jobs, but at least one."""
    if all(job.tasks == 1 for job in active):
        return active
    cpus = capacity.cpus_total - sum(job.cpus for job in active)
    gpus = capacity.gpus_total - sum(job.gpus for job in active)
    held = []
    for job in active:
        # What is left of the sum may be spread over several nodes.
        more = min(job.tasks, _slots(job.cpus, job.gpus, capacity)) - 1
        while more > 0 and (more * job.cpus > cpus or more * job.gpus > gpus):
            more -= 1
        more = max(more, 0)
        cpus -= more * job.cpus
        gpus -= more * job.gpus
        held.append(replace(job, tasks=1 + more))
    return held


def _slots(cpus: int, gpus: int, capacity: Capacity) -> int:
    """The number of such tasks that the cluster could hold if nothing else ran on it."""
    return sum(
        int(min(node.cpus_total // cpus, node.gpus_total // gpus if gpus else node.cpus_total))
        for node in capacity.nodes
    )


def _too_large(job: Queued, capacity: Capacity) -> Wait:
    largest = f"{capacity.largest_node_cpus:g} CPUs and {capacity.largest_node_gpus:g} GPUs"
    message = (
        f"can never start: it needs {_amount(job.cpus, job.gpus)} on one node, and the largest node has {largest}; "
        "add such a node, or submit the job with less"
    )
    return Wait("too_large", message)


class _Usage:
    """Keeps account of what each project holds."""

    def __init__(self, active: Sequence[Active], capacity: Capacity, limits: Mapping[str, Limits]) -> None:
        self._totals = (capacity.cpus_total or 1.0, capacity.gpus_total or 1.0)
        self._limits = limits
        self._running = defaultdict[str, list[int]](lambda: [0, 0])
        """Project -> [jobs, GPUs]."""
        self._held = defaultdict[str, list[int]](lambda: [0, 0])
        """Project -> [CPUs, GPUs], including the waiting jobs that were counted."""
        for job in active:
            self.run(job, job.tasks)
            self.count(job, job.tasks)

    def share(self, project: str) -> float:
        cpus, gpus = self._held[project]
        weight = self._limits.get(project, _NO_LIMITS).weight
        return max(cpus / self._totals[0], gpus / self._totals[1]) / weight

    def over_quota(self, job: Queued, capacity: Capacity) -> Wait | None:
        limits = self._limits.get(job.project, _NO_LIMITS)
        jobs, gpus = self._running[job.project]
        if limits.max_running_jobs is not None and jobs >= limits.max_running_jobs:
            message = f"project {job.project} may run {limits.max_running_jobs} jobs at once, and runs {jobs}"
            return Wait("quota", message)
        # A quota is never exceeded, so all tasks that may run later count.
        asked = job.gpus and job.gpus * min(job.tasks, _slots(job.cpus, job.gpus, capacity))
        if limits.max_gpus is not None and asked and gpus + asked > limits.max_gpus:
            message = f"project {job.project} may hold {limits.max_gpus} GPUs at once, and holds {gpus}"
            if job.tasks > 1:
                message += f"; the sweep needs {asked}, one set for each of its concurrent_trials"
            return Wait("quota", message)
        return None

    def run(self, job: Queued | Active, tasks: int) -> None:
        running = self._running[job.project]
        running[0] += 1
        running[1] += job.gpus * tasks

    def count(self, job: Queued | Active, tasks: int) -> None:
        held = self._held[job.project]
        held[0] += job.cpus * tasks
        held[1] += job.gpus * tasks


class _Room:
    """The resources that are free on each node, and those that running jobs will release."""

    def __init__(self, active: Sequence[Active], capacity: Capacity) -> None:
        self._nodes = [[node.cpus_free, node.gpus_free] for node in capacity.nodes]
        for job in active:
            for _ in range(job.tasks if not job.is_placed else 0):
                self._place(job.cpus, job.gpus)
        # A second bound, because the cluster's free amounts lag behind recent starts and stops.
        held_cpus, held_gpus = _amounts(active)
        self._free_cpus = min(_sum(self._nodes, 0), capacity.cpus_total - held_cpus)
        self._free_gpus = min(_sum(self._nodes, 1), capacity.gpus_total - held_gpus)
        self._free_at_first = (max(self._free_cpus, 0.0), max(self._free_gpus, 0.0))
        self._releases = _Releases(active)
        self._last_start_s = 0.0
        """The latest start of the waiting jobs so far."""
        self._coming = list(_amounts([job for job in active if job.is_stopping]))
        self._victims = sorted(
            (job for job in active if job.is_preemptible and not job.is_stopping), key=lambda job: job.priority
        )

    @property
    def is_exhausted(self) -> bool:
        """Whether no job can start any more, since every job takes a CPU."""
        return self._free_cpus < 1

    def take(self, job: Queued) -> int:
        """Place as many tasks of the job as fit; returns their number."""
        taken = 0
        while taken < job.tasks and self._take_task(job):
            taken += 1
        return taken

    def _take_task(self, job: Queued) -> bool:
        if job.cpus > self._free_cpus or (job.gpus and job.gpus > self._free_gpus):
            return False
        if not self._place(job.cpus, job.gpus):
            return False
        self.reserve(job)
        return True

    def reserve(self, job: Queued) -> None:
        """Reserve one task of the job."""
        self._free_cpus -= job.cpus
        self._free_gpus -= job.gpus

    def why_not(self, job: Queued) -> Wait:
        asked = _amount(job.cpus, job.gpus)
        free = _amount(max(_sum(self._nodes, 0), 0), _sum(self._nodes, 1))
        not_before_s = self._start_s(job)
        if self._has_node_for(job.cpus, job.gpus):
            return Wait("behind", f"needs {asked}; what is free is reserved for jobs ahead of it", not_before_s)
        return Wait("busy", f"needs {asked} on one node; {free} are free", not_before_s)

    def _start_s(self, job: Queued) -> float | None:
        """The earliest start of the job, behind the jobs ahead of it."""
        # Resources that jobs ahead take or wait for count as never released.
        at_s = self._releases.time_until(job.cpus - self._free_cpus, job.gpus - self._free_gpus if job.gpus else 0.0)
        if at_s is None:
            # A job ahead must end first, at an unknown time. But a large job waits for the running jobs in any case.
            free_cpus, free_gpus = self._free_at_first
            alone_s = self._releases.time_until(job.cpus - free_cpus, job.gpus - free_gpus)
            at_s = alone_s if alone_s is not None and alone_s > self._last_start_s else None
        self._last_start_s = max(self._last_start_s, math.inf if at_s is None else at_s)
        return at_s

    def preempt_for(self, job: Queued) -> dict[str, str]:
        """Choose the runs of lower priority to preempt for this job; none if that would not be enough."""
        lacks = [job.cpus - max(self._free_cpus, 0.0), job.gpus - max(self._free_gpus, 0.0)]
        for kind in (0, 1):
            # What stopping runs will release comes first, and goes to the first waiting job.
            given = min(max(lacks[kind], 0.0), self._coming[kind])
            lacks[kind] -= given
            self._coming[kind] -= given
        chosen: list[Active] = []
        for victim in self._victims:
            if victim.priority >= job.priority or max(lacks) <= 0:
                break
            if (lacks[0] > 0 and victim.cpus) or (lacks[1] > 0 and victim.gpus):
                chosen.append(victim)
                cpus, gpus = _amounts([victim])
                lacks[0] -= cpus
                lacks[1] -= gpus
        if max(lacks) > 0:
            return {}
        self._victims = [victim for victim in self._victims if victim not in chosen]
        return {victim.job_id: job.job_id for victim in chosen}

    def _place(self, cpus: float, gpus: float) -> bool:
        """Place on the fullest node that has room, so that emptier nodes stay free for larger jobs."""
        if not self._has_node_for(cpus, gpus):
            return False
        fitting = [node for node in self._nodes if cpus <= node[0] and gpus <= node[1]]
        node = min(fitting, key=lambda free: (free[1] - gpus, free[0] - cpus))
        node[0] -= cpus
        node[1] -= gpus
        return True

    def _has_node_for(self, cpus: float, gpus: float) -> bool:
        return any(cpus <= node[0] and gpus <= node[1] for node in self._nodes)


class _Releases:
    """When the running jobs will release what they hold, as they estimate."""

    def __init__(self, active: Iterable[Active]) -> None:
        ending = sorted((job.eta_s, *_amounts([job])) for job in active if job.eta_s is not None)
        self._at_s = [at_s for at_s, _, _ in ending]
        self._cpus = list(accumulate(cpus for _, cpus, _ in ending))
        self._gpus = list(accumulate(gpus for _, _, gpus in ending))

    def time_until(self, cpus: float, gpus: float) -> float | None:
        """Seconds until so much more is free; None if the runs give no estimate, or it never will be."""
        number = max(_first_with(cpus, self._cpus), _first_with(gpus, self._gpus))
        if number < 0:
            return 0.0
        return self._at_s[number] if number < len(self._at_s) else None


def _first_with(amount: float, sums: Sequence[float]) -> int:
    return bisect_left(sums, amount) if amount > 0 else -1


def _amounts(jobs: Iterable[Active]) -> tuple[float, float]:
    """(CPUs, GPUs) of all tasks of the jobs."""
    cpus = gpus = 0.0
    for job in jobs:
        cpus += job.cpus * job.tasks
        gpus += job.gpus * job.tasks
    return cpus, gpus


def _sum(nodes: Sequence[Sequence[float]], kind: int) -> float:
    return sum(node[kind] for node in nodes)


def _amount(cpus: float, gpus: float) -> str:
    return f"{cpus:g} CPUs and {gpus:g} GPUs" if gpus else f"{cpus:g} CPUs"


_NO_LIMITS = Limits()
