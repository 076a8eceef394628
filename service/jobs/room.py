"""What is free on the nodes, what running jobs will release, and what waiting jobs reserve."""

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate

from service.jobs.cluster import Capacity, slots
from service.jobs.queueing import Active, Held, Queued, Wait, amount, needed, size, steps


class Room:
    """The resources that are free on each node, and those that running jobs will release."""

    def __init__(self, held: Sequence[Held], capacity: Capacity) -> None:
        self._nodes = [[node.cpus_free, node.gpus_free] for node in capacity.nodes]
        for job, workers in held:
            for _ in range(workers if not job.is_placed else 0):
                self._place(job, 1)
        # A second bound, because the cluster's free amounts lag behind recent starts and stops.
        held_cpus, held_gpus = _amounts(held)
        self._free_cpus = min(_sum(self._nodes, 0), capacity.cpus_total - held_cpus)
        self._free_gpus = min(_sum(self._nodes, 1), capacity.gpus_total - held_gpus)
        self._free_at_first = (max(self._free_cpus, 0.0), max(self._free_gpus, 0.0))
        self._releases = _Releases(held)
        self._last_start_s = 0.0
        """The latest start of the waiting jobs so far."""
        self._coming = list(_amounts([each for each in held if each.job.is_stopping]))
        self._victims = sorted(
            (each for each in held if each.job.is_preemptible and not each.job.is_stopping),
            key=lambda each: each.job.priority,
        )

    @property
    def is_exhausted(self) -> bool:
        """Whether no job can start any more, since every worker takes a CPU."""
        return self._free_cpus < 1

    @property
    def free(self) -> list[tuple[float, float]]:
        """(CPUs, GPUs) that are free on each node, reserved or not."""
        return [(cpus, gpus) for cpus, gpus in self._nodes]

    def take(self, job: Queued) -> int:
        """Place as many workers of the job as fit; returns their number, 0 if the job cannot start."""
        taken = 0
        for workers in steps(job):
            if not self._take(job, workers):
                break
            taken += workers
        return taken

    def _take(self, job: Queued, workers: int) -> bool:
        if job.cpus * workers > self._free_cpus or (job.gpus and job.gpus * workers > self._free_gpus):
            return False
        if not self._place(job, workers):
            return False
        self._reserve(job, workers)
        return True

    def reserve(self, job: Queued) -> None:
        """Reserve what the job needs to start."""
        self._reserve(job, job.min_workers)

    def _reserve(self, job: Queued, workers: int) -> None:
        self._free_cpus -= job.cpus * workers
        self._free_gpus -= job.gpus * workers

    def why_not(self, job: Queued) -> Wait:
        """Return why the job cannot start."""
        free = amount(max(_sum(self._nodes, 0), 0), _sum(self._nodes, 1))
        not_before_s = self._start_s(job)
        if self._fits(job, job.min_workers):
            return Wait("behind", f"needs {size(job)}; what is free is reserved for jobs ahead of it", not_before_s)
        return Wait("busy", f"needs {needed(job)}; {free} are free", not_before_s)

    def _start_s(self, job: Queued) -> float | None:
        """The earliest start of the job, behind the jobs ahead of it."""
        cpus, gpus = job.cpus * job.min_workers, job.gpus * job.min_workers
        # Resources that jobs ahead take or wait for count as never released.
        at_s = self._releases.time_until(cpus - self._free_cpus, gpus - self._free_gpus if gpus else 0.0)
        if at_s is None:
            # A job ahead must end first, at an unknown time. But a large job waits for the running jobs in any case.
            free_cpus, free_gpus = self._free_at_first
            alone_s = self._releases.time_until(cpus - free_cpus, gpus - free_gpus)
            at_s = alone_s if alone_s is not None and alone_s > self._last_start_s else None
        self._last_start_s = max(self._last_start_s, math.inf if at_s is None else at_s)
        return at_s

    def preempt_for(self, job: Queued) -> dict[str, str]:
        """Choose the runs of lower priority to preempt for this job; none if that would not be enough."""
        asked = (job.cpus * job.min_workers, job.gpus * job.min_workers)
        lacks = [asked[0] - max(self._free_cpus, 0.0), asked[1] - max(self._free_gpus, 0.0)]
        for kind in (0, 1):
            # What stopping runs will release comes first, and goes to the first waiting job.
            given = min(max(lacks[kind], 0.0), self._coming[kind])
            lacks[kind] -= given
            self._coming[kind] -= given
        chosen: list[Held] = []
        for victim in self._victims:
            if victim.job.priority >= job.priority or max(lacks) <= 0:
                break
            if (lacks[0] > 0 and victim.cpus) or (lacks[1] > 0 and victim.gpus):
                chosen.append(victim)
                lacks[0] -= victim.cpus
                lacks[1] -= victim.gpus
        if max(lacks) > 0:
            return {}
        self._victims = [victim for victim in self._victims if victim not in chosen]
        return {victim.job.job_id: job.job_id for victim in chosen}

    def _place(self, job: Queued | Active, workers: int) -> bool:
        """Place all these workers or none, each on the fullest node with room: emptier ones stay for larger jobs."""
        if not self._fits(job, workers):
            return False
        for _ in range(workers):
            fitting = [node for node in self._nodes if job.cpus <= node[0] and job.gpus <= node[1]]
            node = min(fitting, key=lambda free: (free[1] - job.gpus, free[0] - job.cpus))
            node[0] -= job.cpus
            node[1] -= job.gpus
        return True

    def _fits(self, job: Queued | Active, workers: int) -> bool:
        if workers == 1:
            return any(job.cpus <= node[0] and job.gpus <= node[1] for node in self._nodes)
        return sum(slots(cpus, gpus, job.cpus, job.gpus) for cpus, gpus in self._nodes) >= workers


class _Releases:
    """When the running jobs will release what they hold, as they estimate."""

    def __init__(self, held: Iterable[Held]) -> None:
        ending = sorted((each.job.eta_s, each.cpus, each.gpus) for each in held if each.job.eta_s is not None)
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


def _amounts(held: Sequence[Held]) -> tuple[float, float]:
    """(CPUs, GPUs) of these jobs together."""
    return sum(each.cpus for each in held), sum(each.gpus for each in held)


def _sum(nodes: Sequence[Sequence[float]], kind: int) -> float:
    return sum(node[kind] for node in nodes)
