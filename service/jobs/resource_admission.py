"""Refuses jobs that the cluster has no room for."""

from collections.abc import Iterator

from fgd_core.spec.jobs import JobSpec
from fgd_core.spec.kinds.chain import ChainSpec
from fgd_core.spec.kinds.distill import DistillSpec
from fgd_core.spec.kinds.study import StudySpec
from fgd_core.spec.kinds.sweep import SweepSpec
from fgd_core.spec.kinds.train import TrainSpec
from fgd_core.spec.resources import Resources
from fgd_core.spec.views import ProblemReason
from service.jobs.cluster import Capacity
from service.jobs.queueing import amount


def resource_reasons(spec: JobSpec, capacity: Capacity | None) -> Iterator[ProblemReason]:
    """Yield why a job can never get its resources.

    Args:
        capacity: None if the cluster did not answer; then nothing is refused for its size.
    """
    if capacity is not None:
        per_worker = [*_more_than_a_node(spec.resources, capacity)]
        yield from per_worker or _no_room_for_all(spec.resources, capacity)
    yield from _one_process(spec)


def _more_than_a_node(asked_for: Resources, capacity: Capacity) -> Iterator[ProblemReason]:
    """What one worker asks for and no node has, not even one that the cluster can add."""
    for index, name in enumerate(("cpus", "gpus")):
        available = max((shape[index] for shape in capacity.shapes), default=0.0)
        asked: int = getattr(asked_for, name)
        if asked > available:
            what = name[:-1].upper() + "s"
            cure = "add such a node to the Ray cluster" if not available else f"ask for at most {available:g}"
            if name == "gpus" and not available:
                cure = "set resources.gpus to 0 to run on the CPU, or add a node with a GPU to the Ray cluster"
            yield ProblemReason(
                loc=f"resources.{name}",
                code="resources_unavailable",
                message=f"the job needs {asked} {what} on one node, and the largest node has {available:g}; {cure}",
            )


def _no_room_for_all(asked: Resources, capacity: Capacity) -> Iterator[ProblemReason]:
    """Workers that never fit at the same time, judged by the sizes of the nodes and not by their sum."""
    room, each = capacity.all_slots(asked.cpus, asked.gpus), amount(asked.cpus, asked.gpus)
    if not room:
        message = f"no node has {each}; ask for fewer CPUs, set resources.gpus to 0, or add such a node"
        yield ProblemReason(loc="resources", code="resources_unavailable", message=message)
    elif room < asked.least_workers:
        name = "workers" if asked.min_workers is None else "min_workers"
        message = (
            f"the job needs {asked.least_workers} workers of {each}, each on one node, and the nodes have room for "
            f"{room}; ask for at most {room}, for smaller workers, or add nodes to the Ray cluster"
        )
        yield ProblemReason(loc=f"resources.{name}", code="resources_unavailable", message=message)


def _one_process(spec: JobSpec) -> Iterator[ProblemReason]:
    workers = spec.resources.workers
    if workers > 1 and not isinstance(spec, TrainSpec | DistillSpec | ChainSpec | SweepSpec | StudySpec):
        message = f"a job of kind {spec.kind!r} runs in one process, but workers is {workers}; leave it out"
        yield ProblemReason(loc="resources.workers", code="one_process", message=message)
