"""Which nodes a cluster with an autoscaler should add for the jobs that wait."""

from collections.abc import Iterable

from service.jobs.cluster import Capacity, NodeType, slots
from service.jobs.queueing import Queued


class Growth:
    """Packs waiting jobs onto the free parts of the live nodes, and then onto nodes that the cluster can add.

    Args:
        free: (CPUs, GPUs) that are free on each live node.
    """

    def __init__(self, capacity: Capacity, free: Iterable[tuple[float, float]]) -> None:
        self._left = dict(capacity.addable)
        self._free = list(free)
        self._num_live = len(self._free)
        self.new: list[NodeType] = []
        """The nodes to add."""

    def helps(self, job: Queued) -> bool:
        """Add nodes for a job, with all its workers if possible, else with the fewest.

        Returns:
            Whether the job starts on new nodes. If not, either live nodes will do, or the cluster cannot grow so far.
        """
        return any(self._pack(job, workers) for workers in dict.fromkeys((job.workers, job.min_workers)))

    def _pack(self, job: Queued, workers: int) -> bool:
        added = self._added_for(job, workers)
        if added is None:
            return False
        for kind in added:
            self._left[kind] -= 1
            self._free.append(kind.shape)
        self.new += added
        uses_new = False
        for index, free in enumerate(self._free):
            here = min(workers, slots(*free, job.cpus, job.gpus))
            self._free[index] = free[0] - here * job.cpus, free[1] - here * job.gpus
            workers -= here
            uses_new |= here > 0 and index >= self._num_live
        return uses_new

    def _added_for(self, job: Queued, workers: int) -> list[NodeType] | None:
        """The further nodes that so many workers need, the smallest that hold one; None if there are not enough."""
        missing = workers - sum(slots(*free, job.cpus, job.gpus) for free in self._free)
        added: list[NodeType] = []
        for kind in sorted(self._left, key=lambda kind: (kind.gpus, kind.cpus)):
            on_each = slots(*kind.shape, job.cpus, job.gpus)
            if missing > 0 and on_each:
                number = min(self._left[kind], -(-missing // on_each))
                added += [kind] * number
                missing -= number * on_each
        return added if missing <= 0 else None
