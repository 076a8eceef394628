"""Carries the intent in the database out on the cluster, step by step, in short rounds called ticks.

The steps do not decide what to start, what is lost, or what follows from it: rules in `service.jobs` do.
No step awaits the network inside a transaction: it loads, closes, acts, reopens and applies, guarded by state and
attempt.
"""

import asyncio
from collections.abc import Sequence

import structlog

from fgd_core.errors import ClusterError, StorageError
from service.clock import Clock
from service.dispatcher.archiving import ArchiveAttempts, CopyLogs
from service.dispatcher.capacity import CapacityMemory
from service.dispatcher.cluster import Cluster, ClusterAwayError
from service.dispatcher.context import Context, Step
from service.dispatcher.dashboard_cleanup import DashboardCleanup
from service.dispatcher.fan_out import PATIENCE_S, FanOut
from service.dispatcher.holder import Holder
from service.dispatcher.leadership import Leadership
from service.dispatcher.starting import StartJobs
from service.dispatcher.unblocking import UnblockJobs
from service.dispatcher.watching import WatchRuns
from service.errors import DatabaseError
from service.metrics import Metrics
from service.settings import Settings
from service.storage.base import Storage
from service.store.leases import StaleLeaseError
from service.store.session import Database
from service.store.tokens import TokenMint
from service.tracing import OFF, Tracing

log = structlog.get_logger(__name__)


class Dispatcher:
    """Runs the steps in turn. Several dispatchers may run on one database: only the holder of the lease acts.

    Args:
        holder: this control plane's name as a holder of leases; None: a new one for the home, whose lock the caller
            holds.
        patience_s: how long a tick waits for a step of one run, which continues during the following ticks.
    """

    def __init__(
        self,
        database: Database,
        cluster: Cluster,
        settings: Settings,
        clock: Clock,
        *,
        storage: Storage,
        mint: TokenMint,
        capacity: CapacityMemory | None = None,
        wake: asyncio.Event | None = None,
        holder: Holder | None = None,
        tracing: Tracing = OFF,
        metrics: Metrics | None = None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self.wake = wake or asyncio.Event()
        self.leadership = Leadership(database, clock, holder or Holder.at(settings.home), ttl_s=settings.lease_ttl_s)
        self._metrics = metrics or Metrics()
        self._fan_out = FanOut(clock, patience_s=patience_s)
        context = Context(
            database=database,
            cluster=cluster,
            storage=storage,
            settings=settings,
            clock=clock,
            mint=mint,
            metrics=self._metrics,
            tracing=tracing,
            leadership=self.leadership,
            fan_out=self._fan_out,
            wake=self.wake,
        )
        watch = WatchRuns(context)
        self._steps: Sequence[Step] = (
            # First, so that a burst of starts does not delay a cancel.
            watch,
            UnblockJobs(context),
            StartJobs(context, capacity or CapacityMemory(cluster, clock, settings.ray.node_types), watch.is_placed),
            ArchiveAttempts(context),
            DashboardCleanup(context),
            CopyLogs(context),
        )
        self._ray = _Outage("cluster_away", "cluster_back")
        self._storage = _Outage("storage_fails", "storage_back")
        self._database = _Outage("database_away", "database_back")

    async def tick(self) -> None:
        """Run all steps once if this control plane holds the lease. If Ray is unreachable, the tick ends early.

        Raises:
            StaleLeaseError: another control plane took the lease.
            DatabaseError: the database is unreachable or busy.
            Exception: the first error of a step that is a defect of ours, after all steps.
        """
        is_leader = await self.leadership.acquire()
        self._metrics.dispatches.set(is_leader)
        if is_leader:
            with self._metrics.tick.time():
                await self._run_steps()

    async def run_once(self) -> None:
        """Tick; a lost lease and an unreachable database are logged.

        Raises:
            Exception: the first error of a step that is a defect of ours, after all steps.
        """
        try:
            await self.tick()
        except StaleLeaseError:
            self.leadership.resign()
            self._metrics.dispatches.set(0)
        except DatabaseError as error:
            # Nothing is lost: what was not done now is done in a later tick.
            self._metrics.dispatches.set(0)
            self._database.report(str(error))
            return
        self._database.report(None)

    async def close(self) -> None:
        """Stop all steps and give the lease back, so that another control plane can dispatch at once."""
        await self._fan_out.close()
        await self.leadership.release()

    async def _run_steps(self) -> None:
        ray_fault, storage_fault = None, None
        defect: BaseException | None = None
        for step in self._steps:
            (error,) = await asyncio.gather(step.run(), return_exceptions=True)
            match error:
                case None:
                    continue
                case ClusterAwayError():
                    self._metrics.ray_errors.labels("away").inc()
                    ray_fault = str(error)
                    break
                case ClusterError():
                    self._metrics.ray_errors.labels("refused").inc()
                    log.warning("cluster_refuses", error=str(error))
                case StorageError():
                    storage_fault = str(error)
                case StaleLeaseError() | DatabaseError():
                    raise error
                case _:
                    # A defect in one step must not keep the other steps from running, tick after tick.
                    defect = defect or error
        self._ray.report(ray_fault)
        self._storage.report(storage_fault)
        if defect is not None:
            raise defect


class _Outage:
    """Logs when an outage begins and when it ends, and not at each tick in between."""

    def __init__(self, begun: str, ended: str) -> None:
        self._begun, self._ended = begun, ended
        self._is_on = False

    def report(self, fault: str | None) -> None:
        """
        Args:
            fault: what failed now; None if nothing did.
        """
        if fault is not None and not self._is_on:
            log.warning(self._begun, error=fault)
        elif fault is None and self._is_on:
            log.info(self._ended)
        self._is_on = fault is not None
