"""Caches the capacity of the cluster."""

import asyncio
from dataclasses import replace
from datetime import datetime

from fgd_core.errors import ClusterError
from service.clock import Clock
from service.dispatcher.cluster import Cluster
from service.jobs.cluster import Capacity, NodeType

MAX_AGE_S = 30.0
PATIENCE_S = 2.0
"""A client that submits a job waits no longer than this for a cluster that does not answer."""
_AWAY_FOR_S = 1.0
"""After a failure the cluster is not asked again for this time, so that a burst of jobs causes one request."""


class CapacityMemory:
    """Remembers the last answer of the cluster about its capacity.

    Args:
        node_types: the kinds of nodes that the cluster can add, of which Ray reports the names but not the sizes.
    """

    def __init__(self, cluster: Cluster, clock: Clock, node_types: tuple[NodeType, ...] = ()) -> None:
        self._cluster = cluster
        self._node_types = node_types
        self._clock = clock
        self._capacity: Capacity | None = None
        self._asked_at: datetime | None = None
        self._away_since: datetime | None = None

    async def fresh(self) -> Capacity:
        """Ask the cluster now. Raises ClusterError."""
        self._capacity = replace(await self._cluster.capacity(), node_types=self._node_types)
        self._asked_at = self._clock()
        return self._capacity

    async def recent(self, max_age_s: float = MAX_AGE_S) -> Capacity | None:
        """Return an answer that is at most `max_age_s` old, which suffices for the size of nodes.

        None if the cluster does not answer.
        """
        if self._asked_at is not None and (self._clock() - self._asked_at).total_seconds() < max_age_s:
            return self._capacity
        if self._away_since is not None and (self._clock() - self._away_since).total_seconds() < _AWAY_FOR_S:
            return None
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await self.fresh()
        except (ClusterError, TimeoutError):
            self._away_since = self._clock()
            return None
