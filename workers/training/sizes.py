"""Chooses how many workers a group gets: the most that share the batches evenly and for which there is room."""

from collections.abc import Callable, Iterator

from ray.util.placement_group import placement_group, remove_placement_group

from fgd_core.spec.jobs import JobSpec
from fgd_core.spec.kinds.chain import ChainSpec
from fgd_core.spec.kinds.distill import DistillSpec
from fgd_core.spec.kinds.train import TrainSpec
from fgd_core.spec.resources import Resources

_PATIENCE_S = 5.0
"""For all workers; on a cluster that has room, a placement takes a tenth of a second."""
_IMPATIENCE_S = 2.0
"""For fewer workers, each number in turn."""


def sizes(spec: JobSpec) -> list[int]:
    """Return the numbers of workers that the spec allows and that share each batch evenly, the largest first.

    Where batches have parts (`training.accumulate`), each part is shared evenly.
    """
    resources, shared = spec.resources, [*_shared_images(spec)]
    candidates = range(resources.workers, resources.least_workers - 1, -1)
    return [size for size in candidates if not any(images % size for images in shared)]


def choose(spec: JobSpec, should_stop: Callable[[], bool]) -> int | None:
    """Wait until the cluster has room for one of the sizes, and return the largest for which it has.

    A job with one size does not wait: Ray Train does.

    Returns:
        None if the run was asked to stop first.
    """
    allowed = sizes(spec)
    while len(allowed) > 1 and not should_stop():
        for size in allowed:
            if has_room(spec.resources, size, _PATIENCE_S if size == allowed[0] else _IMPATIENCE_S):
                return size
    return None if len(allowed) > 1 else allowed[0]


def has_room(resources: Resources, num_workers: int, timeout_s: float) -> bool:
    """Return whether the cluster can place so many workers within the time.

    Ray itself places them, as it will for Ray Train, and frees the room again.
    """
    bundle = {"CPU": float(resources.cpus), "GPU": float(resources.gpus)}
    probe = placement_group([bundle] * num_workers, strategy="PACK", name="fgd probe")
    try:
        return bool(probe.wait(timeout_s))
    finally:
        remove_placement_group(probe)


def _shared_images(spec: JobSpec) -> Iterator[int]:
    """Yield how many images the workers share at a time: a batch, or each part of it."""
    match spec:
        case TrainSpec() | DistillSpec():
            trainings = [spec.training]
        case ChainSpec():
            trainings = [stage.training or spec.training for stage in spec.stages]
        case _:
            trainings = []
    yield from (each.batch_size // each.accumulate for each in trainings)
