"""Which queued jobs start now."""

from collections.abc import Sequence
from dataclasses import dataclass

from service.dispatcher.cluster import Capacity


@dataclass(frozen=True, kw_only=True)
class Needs:
    job_id: str
    cpus: int
    gpus: int


@dataclass(frozen=True)
class Choice:
    start: list[str]
    """Job ids."""
    wait: dict[str, str]
    """Job id -> what it waits for, in words."""


def choose(queued: Sequence[Needs], *, active: Sequence[Needs], pending: Sequence[Needs], capacity: Capacity) -> Choice:
    """Start the oldest first; a younger job may pass an older one only where it takes nothing that one waits for.

    Args:
        queued: oldest first.
        active: what our attempts hold or are about to hold.
        pending: those of `active` that the cluster has not placed yet, so that its free sums still contain them.
    """
    # Two bounds, for the cluster's free sums lag behind, and others may use the cluster too.
    free_cpus = min(capacity.cpus_free - _cpus(pending), capacity.cpus_total - _cpus(active))
    free_gpus = min(capacity.gpus_free - _gpus(pending), capacity.gpus_total - _gpus(active))
    choice = Choice(start=[], wait={})
    for job in queued:
        asked = f"{job.cpus} CPUs and {job.gpus} GPUs"
        if job.cpus > capacity.largest_node_cpus or job.gpus > capacity.largest_node_gpus:
            largest = f"{capacity.largest_node_cpus:g} CPUs and {capacity.largest_node_gpus:g} GPUs"
            choice.wait[job.job_id] = f"asks for {asked}; the largest node has {largest}"
            continue
        if job.cpus <= max(free_cpus, 0) and job.gpus <= max(free_gpus, 0):
            choice.start.append(job.job_id)
        else:
            free = f"{max(free_cpus, 0):g} CPUs and {max(free_gpus, 0):g} GPUs"
            choice.wait[job.job_id] = f"waits for {asked}; {free} are free"
        # A job that has to wait reserves its share all the same, or a stream of small ones would starve it.
        free_cpus -= job.cpus
        free_gpus -= job.gpus
    return choice


def _cpus(needs: Sequence[Needs]) -> int:
    return sum(job.cpus for job in needs)


def _gpus(needs: Sequence[Needs]) -> int:
    return sum(job.gpus for job in needs)
