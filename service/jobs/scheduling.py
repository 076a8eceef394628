"""Which queued jobs start now, which have to wait and why, and which make room for others."""

import heapq
import math
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Literal, NamedTuple

from service.jobs.cluster import Capacity

WaitCode = Literal["busy", "too_large", "quota", "behind", "backoff", "dependencies", "cluster_away", "starts_now"]


class Queued(NamedTuple):
    """A tuple, for ten thousand of them are made every second."""

    job_id: str
    project: str
    priority: int
    cpus: int
    gpus: int
    pieces: int = 1
    """So many times CPUs and GPUs, each on any node: the trials that a sweep runs at once; 1 for every other job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Active:
    """An attempt that holds, or is about to hold, a part of the cluster."""

    job_id: str
    project: str
    priority: int
    cpus: int
    gpus: int
    is_placed: bool
    """Whether the cluster's free sums are without it already."""
    pieces: int = 1
    """As of `Queued`: those that it wants."""
    is_preemptible: bool = False
    is_stopping: bool = False
    eta_s: float | None = None
    """When it will be done, as far as it says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Of one project; None: no limit."""

    weight: float = 1.0
    max_running_jobs: int | None = None
    max_gpus: int | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    code: WaitCode
    message: str
    not_before_s: float | None = None
    """It cannot start earlier, as far as the runs under way say, and behind the jobs ahead of it.

    None where they do not say, as of a job that has to wait for one ahead of it to end; or where it never can."""


@dataclass(frozen=True)
class Choice:
    start: list[str] = field(default_factory=list)
    """Job ids, in order."""
    wait: dict[str, Wait] = field(default_factory=dict)
    """By job id, in order."""
    pause: dict[str, str] = field(default_factory=dict)
    """Job id of a run that is to make room -> the job that needs it."""


def choose(
    queued: Sequence[Queued],
    *,
    active: Sequence[Active],
    capacity: Capacity,
    limits: Mapping[str, Limits],
    max_waits: int | None = None,
) -> Choice:
    """Start by priority, then by fair share between projects, then oldest first.

    Fair share: among equal priorities the project goes first that holds least of the cluster for its weight, counted in
    whichever of CPUs and GPUs it holds most of (dominant resource fairness, Ghodsi et al. 2011). A job may pass one
    that waits only where it takes nothing that the other waits for.

    A sweep starts once one of its pieces fits, and takes as many as fit: it is right with any number of trials at a
    time, so nobody waits for the last of sixteen, and a sweep for more than the cluster has is not refused. While it
    runs, what it has not got of its pieces is kept for it as it comes free. Its trials claim that on the cluster
    itself, behind our back; a job that we sent there for the same room might wait in the cluster's queue for days.

    Args:
        queued: oldest first.
        max_waits: explain at most so many; once nothing more can start, the rest is not looked at.
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
        pieces = room.take(job)
        if pieces:
            choice.start.append(job.job_id)
            usage.run(job, pieces)
        else:
            choice.wait[job.job_id] = room.why_not(job)
            choice.pause.update(room.make_way(job))
            # It reserves its share all the same, or a stream of small jobs would starve it.
            room.reserve(job)
        usage.count(job, pieces or 1)
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
                # Its share has grown by the job that was just handed out.
                heapq.heappush(heap, (usage.share(project), projects[project][0][0], project))


def _held(active: Sequence[Active], capacity: Capacity) -> Sequence[Active]:
    """Sweeps with as many of their pieces as the cluster has beside all others; each with one at least."""
    if all(job.pieces == 1 for job in active):
        return active
    cpus = capacity.cpus_total - sum(job.cpus for job in active)
    gpus = capacity.gpus_total - sum(job.gpus for job in active)
    held = []
    for job in active:
        # What is left of the sum may lie in bits on several nodes.
        more = min(job.pieces, _slots(job.cpus, job.gpus, capacity)) - 1
        while more > 0 and (more * job.cpus > cpus or more * job.gpus > gpus):
            more -= 1
        more = max(more, 0)
        cpus -= more * job.cpus
        gpus -= more * job.gpus
        held.append(replace(job, pieces=1 + more))
    return held


def _slots(cpus: int, gpus: int, capacity: Capacity) -> int:
    """How many pieces the cluster could hold if nothing else ran on it."""
    return sum(
        int(min(node.cpus_total // cpus, node.gpus_total // gpus if gpus else node.cpus_total))
        for node in capacity.nodes
    )


def _too_large(job: Queued, capacity: Capacity) -> Wait:
    largest = f"{capacity.largest_node_cpus:g} CPUs and {capacity.largest_node_gpus:g} GPUs"
    message = (
        f"can never start: asks for {_amount(job.cpus, job.gpus)} on one node, and the largest has {largest}; "
        "add such a node, or submit it with less"
    )
    return Wait("too_large", message)


class _Usage:
    """What each project holds."""

    def __init__(self, active: Sequence[Active], capacity: Capacity, limits: Mapping[str, Limits]) -> None:
        self._totals = (capacity.cpus_total or 1.0, capacity.gpus_total or 1.0)
        self._limits = limits
        self._running: dict[str, tuple[int, int]] = {}
        """Project -> (jobs, GPUs)."""
        self._held: dict[str, tuple[float, float]] = {}
        """Project -> (CPUs, GPUs), with what its waiting jobs have been counted for."""
        for job in active:
            self._add_running(job.project, job.gpus * job.pieces)
            self._add_held(job.project, job.cpus * job.pieces, job.gpus * job.pieces)

    def share(self, project: str) -> float:
        cpus, gpus = self._held.get(project, (0.0, 0.0))
        weight = self._limits.get(project, _NO_LIMITS).weight
        return max(cpus / self._totals[0], gpus / self._totals[1]) / weight

    def over_quota(self, job: Queued, capacity: Capacity) -> Wait | None:
        limits = self._limits.get(job.project, _NO_LIMITS)
        jobs, gpus = self._running.get(job.project, (0, 0))
        if limits.max_running_jobs is not None and jobs >= limits.max_running_jobs:
            message = f"project {job.project} may run {limits.max_running_jobs} jobs at once, and {jobs} run"
            return Wait("quota", message)
        # A quota is never passed, so all pieces that may come to run count.
        asked = job.gpus and job.gpus * min(job.pieces, _slots(job.cpus, job.gpus, capacity))
        if limits.max_gpus is not None and asked and gpus + asked > limits.max_gpus:
            message = f"project {job.project} may hold {limits.max_gpus} GPUs at once, and holds {gpus}"
            if job.pieces > 1:
                message += f"; the sweep asks for {asked}, one set for each of its concurrent_trials"
            return Wait("quota", message)
        return None

    def run(self, job: Queued, pieces: int) -> None:
        self._add_running(job.project, job.gpus * pieces)

    def count(self, job: Queued, pieces: int) -> None:
        self._add_held(job.project, job.cpus * pieces, job.gpus * pieces)

    def _add_running(self, project: str, num_gpus: int) -> None:
        jobs, gpus = self._running.get(project, (0, 0))
        self._running[project] = (jobs + 1, gpus + num_gpus)

    def _add_held(self, project: str, num_cpus: int, num_gpus: int) -> None:
        cpus, gpus = self._held.get(project, (0.0, 0.0))
        self._held[project] = (cpus + num_cpus, gpus + num_gpus)


class _Room:
    """What is free, node by node, and what will be."""

    def __init__(self, active: Sequence[Active], capacity: Capacity) -> None:
        self._nodes = [[node.cpus_free, node.gpus_free] for node in capacity.nodes]
        for job in active:
            for _ in range(job.pieces if not job.is_placed else 0):
                self._place(job.cpus, job.gpus)
        # A second bound, for the cluster's free sums lag behind what was just started or stopped.
        held_cpus, held_gpus = _amounts(active)
        self._free_cpus = min(_sum(self._nodes, 0), capacity.cpus_total - held_cpus)
        self._free_gpus = min(_sum(self._nodes, 1), capacity.gpus_total - held_gpus)
        self._free_at_first = (max(self._free_cpus, 0.0), max(self._free_gpus, 0.0))
        self._releases = _Releases(active)
        self._last_start_s = 0.0
        """Of the waiting jobs that were looked at so far."""
        self._coming = list(_amounts([job for job in active if job.is_stopping]))
        self._victims = sorted(
            (job for job in active if job.is_preemptible and not job.is_stopping), key=lambda job: job.priority
        )

    @property
    def is_exhausted(self) -> bool:
        """Whether nothing at all can start any more: every job takes a CPU."""
        return self._free_cpus < 1

    def take(self, job: Queued) -> int:
        """As many of its pieces as fit; how many those are."""
        taken = 0
        while taken < job.pieces and self._take_piece(job):
            taken += 1
        return taken

    def _take_piece(self, job: Queued) -> bool:
        if job.cpus > self._free_cpus or (job.gpus and job.gpus > self._free_gpus):
            return False
        if not self._place(job.cpus, job.gpus):
            return False
        self.reserve(job)
        return True

    def reserve(self, job: Queued) -> None:
        """One piece of it."""
        self._free_cpus -= job.cpus
        self._free_gpus -= job.gpus

    def why_not(self, job: Queued) -> Wait:
        asked = _amount(job.cpus, job.gpus)
        free = _amount(max(_sum(self._nodes, 0), 0), _sum(self._nodes, 1))
        not_before_s = self._start_s(job)
        if self._has_node_for(job.cpus, job.gpus):
            return Wait("behind", f"asks for {asked}; what is free is kept for jobs ahead of it", not_before_s)
        return Wait("busy", f"waits for {asked} on one node; {free} are free", not_before_s)

    def _start_s(self, job: Queued) -> float | None:
        """When it may start at the earliest, behind those ahead of it."""
        # What they start with, or wait for, is taken from what is free, as if they kept it.
        at_s = self._releases.time_until(job.cpus - self._free_cpus, job.gpus - self._free_gpus if job.gpus else 0.0)
        if at_s is None:
            # They have to give some of it back, and nobody knows when. But a large job waits for the runs as well.
            free_cpus, free_gpus = self._free_at_first
            alone_s = self._releases.time_until(job.cpus - free_cpus, job.gpus - free_gpus)
            at_s = alone_s if alone_s is not None and alone_s > self._last_start_s else None
        self._last_start_s = max(self._last_start_s, math.inf if at_s is None else at_s)
        return at_s

    def make_way(self, job: Queued) -> dict[str, str]:
        """Runs of lower priority that have to pause for this job; none where that would not be enough."""
        lacks = [job.cpus - max(self._free_cpus, 0.0), job.gpus - max(self._free_gpus, 0.0)]
        for kind in (0, 1):
            # What others give up already comes first, and to the first who waits.
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
        """On the fullest node that still has room, so that the emptier ones stay open for larger jobs."""
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
    """What the runs under way will give back, and when, as far as they say."""

    def __init__(self, active: Iterable[Active]) -> None:
        ending = sorted((job.eta_s, *_amounts([job])) for job in active if job.eta_s is not None)
        self._at_s = [at_s for at_s, _, _ in ending]
        self._cpus = list(accumulate(cpus for _, cpus, _ in ending))
        self._gpus = list(accumulate(gpus for _, _, gpus in ending))

    def time_until(self, cpus: float, gpus: float) -> float | None:
        """Seconds until so much more has come free; None where the runs do not say, or it never does."""
        number = max(_first_with(cpus, self._cpus), _first_with(gpus, self._gpus))
        if number < 0:
            return 0.0
        return self._at_s[number] if number < len(self._at_s) else None


def _first_with(amount: float, sums: Sequence[float]) -> int:
    return bisect_left(sums, amount) if amount > 0 else -1


def _amounts(jobs: Iterable[Active]) -> tuple[float, float]:
    """(CPUs, GPUs) of all their pieces."""
    cpus = gpus = 0.0
    for job in jobs:
        cpus += job.cpus * job.pieces
        gpus += job.gpus * job.pieces
    return cpus, gpus


def _sum(nodes: Sequence[Sequence[float]], kind: int) -> float:
    return sum(node[kind] for node in nodes)


def _amount(cpus: float, gpus: float) -> str:
    return f"{cpus:g} CPUs and {gpus:g} GPUs" if gpus else f"{cpus:g} CPUs"


_NO_LIMITS = Limits()
