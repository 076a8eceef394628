"""What is looked up for a scrape, every few seconds at most: the whole system in the database, Ray, and the folders."""

import asyncio
import shutil
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple, Protocol, get_args

import structlog
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from fgd_core.errors import FgdError
from fgd_core.spec.events import JobState
from fgd_core.spec.jobs import JobSpec
from service.clock import Clock
from service.jobs.cluster import Capacity
from service.metrics import Metrics
from service.settings import Settings
from service.store.session import Database
from service.store.tables import Attempt, Job

log = structlog.get_logger(__name__)

_FRESH_FOR_S = 3.0
"""Several may scrape, and a person who reloads the page does too."""
_PATIENCE_S = 4.0
"""Prometheus waits 10 s, and would take a replica for dead whose database is in trouble."""
_FOLDER_PATIENCE_S = 1.0
_KINDS: tuple[str, ...] = tuple(model.model_fields["kind"].default for model in get_args(get_args(JobSpec)[0]))
_UNKNOWN = float("nan")


class _Seen(NamedTuple):
    jobs: Mapping[tuple[str, str], int]
    """By state and kind."""
    oldest_queued_s: float
    silent_runs: int
    oldest_heartbeat_s: float


class CapacitySource(Protocol):
    async def recent(self) -> Capacity | None:
        """Return the cluster's capacity, at most half a minute old; None if the cluster does not answer."""
        ...


class MetricsSampler:
    """
    Args:
        folders: by the name that their metric calls them.
    """

    def __init__(
        self,
        database: Database,
        capacity: CapacitySource,
        settings: Settings,
        clock: Clock,
        metrics: Metrics,
        *,
        folders: Mapping[str, Path],
    ) -> None:
        self._database = database
        self._capacity = capacity
        self._silent_after = timedelta(seconds=settings.heartbeat_timeout_s)
        self._clock = clock
        self._metrics = metrics
        self._folders = folders
        self._disk_usage: dict[str, asyncio.Task[shutil._ntuple_diskusage]] = {}
        self._turn = asyncio.Lock()
        self._looked_s: float | None = None

    async def look(self) -> None:
        """Bring the gauges up to date. What cannot be looked at is not a number, and a metric of its own says so."""
        async with self._turn:
            if self._looked_s is not None and time.monotonic() - self._looked_s < _FRESH_FOR_S:
                return
            await asyncio.gather(self._look_into_database(), self._look_at_ray(), self._look_at_folders())
            self._looked_s = time.monotonic()

    async def _look_into_database(self) -> None:
        metrics = self._metrics
        metrics.jobs.clear()
        try:
            async with asyncio.timeout(_PATIENCE_S), self._database.reading() as session:
                seen = await _see(session, self._clock(), self._silent_after)
        except (FgdError, TimeoutError) as error:
            log.warning("scraped_without_database", error=str(error) or f"no answer within {_PATIENCE_S:.0f} s")
            metrics.database_up.set(0)
            for gauge in (metrics.oldest_queued_s, metrics.silent_runs, metrics.oldest_heartbeat_s):
                # What was true before is not known to be true now.
                gauge.set(_UNKNOWN)
            return
        metrics.database_up.set(1)
        for state in get_args(JobState):
            for kind in _KINDS:
                metrics.jobs.labels(state, kind).set(seen.jobs.get((state, kind), 0))
        metrics.oldest_queued_s.set(seen.oldest_queued_s)
        metrics.silent_runs.set(seen.silent_runs)
        metrics.oldest_heartbeat_s.set(seen.oldest_heartbeat_s)

    async def _look_at_ray(self) -> None:
        capacity = await self._capacity.recent()
        self._metrics.ray_up.set(capacity is not None)
        self._metrics.ray_nodes.set(len(capacity.nodes) if capacity is not None else _UNKNOWN)

    async def _look_at_folders(self) -> None:
        for name, folder in self._folders.items():
            # Elsewhere, for a folder on a network that is away answers late or never; and not asked again before it has
            # answered, or all threads would come to hang there, and with them whatever else needs one.
            asked = self._disk_usage.get(name) or asyncio.create_task(asyncio.to_thread(shutil.disk_usage, folder))
            self._disk_usage[name] = asked
            try:
                usage = await asyncio.wait_for(asyncio.shield(asked), _FOLDER_PATIENCE_S)
            except (OSError, TimeoutError):
                self._metrics.folder_free.labels(name).set(_UNKNOWN)
                continue
            finally:
                if asked.done():
                    del self._disk_usage[name]
            self._metrics.folder_free.labels(name).set(usage.free)
            self._metrics.folder_size.labels(name).set(usage.total)


async def _see(session: AsyncSession, now: datetime, silent_after: timedelta) -> _Seen:
    by_state = select(Job.state, Job.kind, func.count()).group_by(Job.state, Job.kind)
    jobs: dict[tuple[str, str], int] = {(state, kind): count for state, kind, count in await session.execute(by_state)}
    waits_since = func.coalesce(Job.queued_at, Job.created_at)
    oldest = await session.scalar(select(waits_since).where(Job.state == "queued").order_by(waits_since).limit(1))
    heard = (
        select(func.coalesce(Attempt.heartbeat_at, Attempt.created_at))
        .join(Job, Job.current_attempt_id == Attempt.id)
        .where(Job.state == "running", Attempt.ended_at.is_(None))
    )
    silent = [now - heard_at for heard_at in await session.scalars(heard)]
    return _Seen(
        jobs=jobs,
        oldest_queued_s=max(0.0, (now - oldest).total_seconds()) if oldest is not None else 0.0,
        silent_runs=sum(each > silent_after for each in silent),
        oldest_heartbeat_s=max((each.total_seconds() for each in silent), default=0.0),
    )
