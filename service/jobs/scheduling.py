"""Decides which queued jobs start now, which wait and why, and which runs are preempted."""

import heapq
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import islice

from service.jobs.cluster import Capacity, NodeType
from service.jobs.growth import Growth
from service.jobs.queueing import Active, Held, Limits, Queued, Wait, needed, steps
from service.jobs.room import Room

MAX_GROWING = 100
"""Waiting jobs for which the cluster grows at once; the next ones come as these start."""


@dataclass(frozen=True)
class Choice:
    """What the scheduler decided."""

    start: list[str] = field(default_factory=list)
    """Job ids, in order."""
    wait: dict[str, Wait] = field(default_factory=dict)
    """By job id, in order."""
    pause: dict[str, str] = field(default_factory=dict)
    """Job id of a run to preempt -> the job that needs its room."""
    new_nodes: list[NodeType] = field(default_factory=list)
    """The nodes that the cluster should add for waiting jobs."""


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

    A job of several workers starts when all of them fit, or at least its `min_workers`. A sweep starts once one of its
    tasks fits, and takes as many as fit: it works with any number of trials at a time. While it runs, resources that
    come free are reserved for its remaining tasks. The sweep's trials claim them directly from Ray; another job, sent
    to Ray for the same resources, might wait in Ray's queue for days.

    Args:
        queued: oldest first.
        max_waits: number of waits to explain; once no more jobs can start, the remaining jobs are ignored.
    """
    holders = held(active, capacity)
    room = Room(holders, capacity)
    usage = _Usage(holders, capacity, limits)
    # Ten thousand jobs have a handful of sizes.
    live_slots, all_slots = cache(capacity.live_slots), cache(capacity.all_slots)
    choice = Choice()
    waiting: list[Queued] = []
    for job in _in_order(queued, usage):
        if max_waits is not None and len(choice.wait) >= max_waits and room.is_exhausted:
            break
        if all_slots(job.cpus, job.gpus) < job.min_workers:
            choice.wait[job.job_id] = _too_large(job, capacity)
            continue
        refusal = usage.over_quota(job, capacity)
        if refusal is not None:
            choice.wait[job.job_id] = refusal
            continue
        workers = room.take(job)
        if workers:
            choice.start.append(job.job_id)
            usage.run(job, workers)
        else:
            waiting.append(job)
            choice.wait[job.job_id] = room.why_not(job)
            choice.pause.update(room.preempt_for(job))
            if live_slots(job.cpus, job.gpus) >= job.min_workers:
                # It reserves its share even so; without that a stream of small jobs would starve it.
                room.reserve(job)
        usage.count(job, workers or job.min_workers)
    if capacity.node_types:
        _grow(choice, waiting, Growth(capacity, room.free))
    return choice


def held(active: Iterable[Active], capacity: Capacity) -> list[Held]:
    """Count the workers of each run. Those that can take more hold what all other runs leave of the cluster."""
    active = list(active)
    cpus = capacity.cpus_total - sum(job.cpus * job.min_workers for job in active)
    gpus = capacity.gpus_total - sum(job.gpus * job.min_workers for job in active)
    found = []
    for job in active:
        workers, *more = steps(job)
        # What is left of the sum may be spread over several nodes.
        at_most = capacity.live_slots(job.cpus, job.gpus) if more else workers
        for number in more:
            if workers + number > at_most or number * job.cpus > cpus or number * job.gpus > gpus:
                break
            workers += number
            cpus -= number * job.cpus
            gpus -= number * job.gpus
        found.append(Held(job, workers))
    return found


def _grow(choice: Choice, waiting: Iterable[Queued], growth: Growth) -> None:
    served = set(choice.pause.values())
    for job in islice((job for job in waiting if job.job_id not in served), MAX_GROWING):
        if growth.helps(job):
            message = f"needs {needed(job)}; waits for a node: asked the cluster to grow"
            choice.wait[job.job_id] = Wait("growing", message)
    choice.new_nodes.extend(growth.new)


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


def _too_large(job: Queued, capacity: Capacity) -> Wait:
    if job.min_workers == 1:
        cpus, gpus = (max((shape[kind] for shape in capacity.shapes), default=0.0) for kind in (0, 1))
        found = f"the largest node has {cpus:g} CPUs and {gpus:g} GPUs; add such a node, or submit the job with less"
    else:
        number = capacity.all_slots(job.cpus, job.gpus)
        found = (
            f"the cluster has room for {number} such workers; add nodes, or submit the job with fewer or smaller ones"
        )
    return Wait("too_large", f"can never start: it needs {needed(job)}, and {found}")


class _Usage:
    """Keeps account of what each project holds."""

    def __init__(self, held: Iterable[Held], capacity: Capacity, limits: Mapping[str, Limits]) -> None:
        self._totals = (capacity.cpus_total or 1.0, capacity.gpus_total or 1.0)
        self._limits = limits
        self._running = defaultdict[str, list[int]](lambda: [0, 0])
        """Project -> [jobs, GPUs]."""
        self._held = defaultdict[str, list[int]](lambda: [0, 0])
        """Project -> [CPUs, GPUs], including the waiting jobs that were counted."""
        for job, workers in held:
            self.run(job, workers)
            self.count(job, workers)

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
        if limits.max_gpus is None or not job.gpus:
            return None
        # A quota is never exceeded, so all workers that may run later count.
        asked = job.gpus * min(job.tasks * job.workers, capacity.all_slots(job.cpus, job.gpus))
        if gpus + asked > limits.max_gpus:
            message = f"project {job.project} may hold {limits.max_gpus} GPUs at once, and holds {gpus}"
            if job.tasks > 1:
                message += f"; the sweep needs {asked}, one set for each of its concurrent_trials"
            elif job.workers > 1:
                message += f"; the job needs {asked} for its {job.workers} workers"
            return Wait("quota", message)
        return None

    def run(self, job: Queued | Active, workers: int) -> None:
        running = self._running[job.project]
        running[0] += 1
        running[1] += job.gpus * workers

    def count(self, job: Queued | Active, workers: int) -> None:
        held = self._held[job.project]
        held[0] += job.cpus * workers
        held[1] += job.gpus * workers


_NO_LIMITS = Limits()
