"""Asks a cluster with an autoscaler for the nodes that waiting jobs need.

Ray's autoscaler sees only what was submitted to Ray, and the queue is ours. So a small Ray job, `workers.demand`, asks
for the nodes and takes that back at its end. It outlives this control plane, and ends by itself if none renews it.
"""

import json
import shlex
from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TypeAlias

import structlog

from service.dispatcher.cluster import Submission
from service.dispatcher.context import Context
from service.jobs.cluster import Node, NodeType

SETTLE_S = 6.0
"""Jobs must need the nodes for so long: Ray reports up to 5 s late that a run has released its resources."""
LINGER_S = 30.0
"""What was asked ends so long after the last job that needed it: several workers claim their nodes some seconds after
their driver has started, and the autoscaler would remove a node that has been idle meanwhile."""
HOLD_S = 600.0
"""After so many seconds a demand ends that nobody renews."""
PREFIX = "fgd-demand-"
"""Of the submission ids of these jobs."""

Fleet: TypeAlias = tuple[tuple[float, float, int], ...]
"""(CPUs, GPUs, number of such nodes) of each size; empty: nothing is asked of the cluster."""

log = structlog.get_logger(__name__)


class GrowCluster:
    """Keeps at most one demand on the cluster, and replaces it when jobs need other nodes."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._wanted: Fleet = ()
        self._wanted_since = context.clock()
        self._asked: Fleet | None = None
        """None if unknown: a former control plane may have asked."""
        self._renew_at = context.clock()

    async def ask(self, nodes: Iterable[Node], new: Iterable[NodeType]) -> None:
        """Ask for new nodes, or take back what was asked if there are none. Call this in each tick.

        Args:
            nodes: the live nodes.
            new: the nodes that waiting jobs need in addition.
        Raises:
            ClusterError: Ray is unreachable, or refuses.
        """
        if not self._context.settings.ray.node_types:
            return
        now, wanted = self._context.clock(), fleet(nodes, new)
        if wanted != self._wanted:
            self._wanted, self._wanted_since = wanted, now
        is_in_force = wanted == self._asked and (not wanted or now < self._renew_at)
        is_settled = (now - self._wanted_since).total_seconds() >= (SETTLE_S if wanted else LINGER_S)
        if is_settled and not is_in_force:
            await self._replace(wanted, now)

    async def _replace(self, wanted: Fleet, now: datetime) -> None:
        cluster = self._context.cluster
        self._asked = None
        earlier = {id_: job for id_, job in (await cluster.jobs()).items() if id_.startswith(PREFIX)}
        living = [id_ for id_, job in earlier.items() if not job.is_over]
        for submission_id in living:
            await cluster.stop(submission_id)
        if living:
            # It takes its demand back first, which would take back the next one as well.
            return
        # One that was killed took nothing back; a new one does, even if it asks for nothing.
        was_killed = any(job.status == "FAILED" for job in earlier.values())
        for submission_id in earlier:
            await cluster.delete(submission_id)
        if wanted or was_killed:
            await cluster.submit(_submission(wanted, self._context.settings.python, now))
            log.info("nodes_asked", nodes=wanted)
        self._asked, self._renew_at = wanted, now + timedelta(seconds=HOLD_S / 2)


def fleet(nodes: Iterable[Node], new: Iterable[NodeType]) -> Fleet:
    """Return all nodes that there should be; empty if no new ones are needed.

    Ray takes the demand as the least size of the whole cluster. Counting the live nodes as well has a second advantage:
    the demand stays the same while new nodes come up.
    """
    added = [kind.shape for kind in new]
    sizes = Counter([*added, *(node.shape for node in nodes if any(node.shape))]) if added else Counter()
    return tuple(sorted((cpus, gpus, number) for (cpus, gpus), number in sizes.items()))


def _submission(wanted: Fleet, python: str, now: datetime) -> Submission:
    nodes = json.dumps([[int(cpus), int(gpus), number] for cpus, gpus, number in wanted])
    seconds = f" --seconds {HOLD_S:g}" if wanted else ""
    return Submission(
        submission_id=f"{PREFIX}{now:%Y%m%d-%H%M%S}",
        entrypoint=f"{shlex.quote(python)} -m workers.demand {shlex.quote(nodes)}{seconds}",
        environment={},
        cpus=0,
        gpus=0,
        metadata={"job_name": "asks the autoscaler for nodes (demand)", "kind": "demand"},
    )
