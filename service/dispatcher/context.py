"""What the steps of the dispatcher have in common: their interface, and what they work with."""

import asyncio
from dataclasses import dataclass
from typing import Protocol

from service.clock import Clock
from service.dispatcher.cluster import Cluster
from service.dispatcher.fan_out import FanOut
from service.dispatcher.leadership import Leadership
from service.metrics import Metrics
from service.settings import Settings
from service.storage.base import Storage
from service.store.session import Database
from service.store.tables import Attempt
from service.store.tokens import TokenMint
from service.tracing import Tracing


class Step(Protocol):
    """One part of a tick. It remembers only hints, which a restart may lose."""

    async def run(self) -> None:
        """Do what is due now.

        Raises:
            ClusterAwayError: Ray is unreachable; the tick ends.
            ClusterError, StorageError: one run failed; the next step runs, and this one is repeated in the next tick.
            StaleLeaseError, DatabaseError: nothing can be written; the tick ends.
        """


@dataclass(frozen=True, kw_only=True)
class Context:
    """Holds what every step works with.

    `leadership.writing()` opens a transaction that only the dispatching control plane can commit. `wake` is set when
    resources may have become free, so that the next tick starts at once.
    """

    database: Database
    cluster: Cluster
    storage: Storage
    settings: Settings
    clock: Clock
    mint: TokenMint
    metrics: Metrics
    tracing: Tracing
    leadership: Leadership
    fan_out: FanOut
    wake: asyncio.Event

    def silent_s(self, attempt: Attempt) -> float:
        """Seconds since the run's last batch; since the attempt was created if there was none."""
        return (self.clock() - (attempt.heartbeat_at or attempt.created_at)).total_seconds()
