"""Samples metrics for a scrape, at most every few seconds: from the database, Ray, and the folders."""

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
from service.store import job_counts
from service.store.session import Database
from service.store.tables import Attempt, Job

log = structlog.get_logger(__name__)

_FRESH_FOR_S = 3.0
"""Several programs may scrape, and people reload the page."""
_PATIENCE_S = 4.0
"""Shorter than the 10 s that Prometheus waits: a replica whose database does not answer must not count as dead."""
_FOLDER_PATIENCE_S = 1.0
_KINDS: tuple[str, ...] = tuple(model.model_fields["kind"].default for model in get_args(get_args(JobSpec)[0]))
_UNKNOWN = float("nan")


class _Sample(NamedTuple):
    """Values of the whole system at one time."""

    jobs: Mapping[tuple[JobState, str], int]
    """(state, kind) -> number of jobs."""
    oldest_queued_s: float
    silent_runs: int
    oldest_heartbeat_s: float


class CapacitySource(Protocol):
    """What the sampler needs of `CapacityMemory`."""

    async def recent(self) -> Capacity | None:
        """Return the cluster's capacity, at most half a minute old; None if the cluster does not answer."""


class MetricsSampler:
    """Updates the gauges that are not counted as events happen.

    Args:
        folders: by the label of their metric.
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
        self._sampled_s: float | None = None

    async def sample(self) -> None:
        """Update the gauges. A value that cannot be read becomes NaN, and its source has an `up` metric."""
        async with self._turn:
            if self._sampled_s is not None and time.monotonic() - self._sampled_s < _FRESH_FOR_S:
                return
            await asyncio.gather(self._sample_database(), self._sample_ray(), self._sample_folders())
            self._sampled_s = time.monotonic()

    async def _sample_database(self) -> None:
        metrics = self._metrics
        metrics.jobs.clear()
        try:
            async with asyncio.timeout(_PATIENCE_S), self._database.reading() as session:
                sample = await _read(session, self._clock(), self._silent_after)
        except (FgdError, TimeoutError) as error:
            log.warning("scraped_without_database", error=str(error) or f"no answer within {_PATIENCE_S:.0f} s")
            metrics.database_up.set(0)
            for gauge in (metrics.oldest_queued_s, metrics.silent_runs, metrics.oldest_heartbeat_s):
                # The previous value may be wrong by now.
                gauge.set(_UNKNOWN)
            return
        metrics.database_up.set(1)
        for state in get_args(JobState):
            for kind in _KINDS:
                metrics.jobs.labels(state, kind).set(sample.jobs.get((state, kind), 0))
        metrics.oldest_queued_s.set(sample.oldest_queued_s)
        metrics.silent_runs.set(sample.silent_runs)
        metrics.oldest_heartbeat_s.set(sample.oldest_heartbeat_s)

    async def _sample_ray(self) -> None:
        capacity = await self._capacity.recent()
        self._metrics.ray_up.set(capacity is not None)
        self._metrics.ray_nodes.set(len(capacity.nodes) if capacity is not None else _UNKNOWN)

    async def _sample_folders(self) -> None:
        for name, folder in self._folders.items():
            # In a thread, because a folder on an unreachable network answers late or never; and not read again before
            # it has answered, because otherwise all threads would end up blocked there.
            reading = self._disk_usage.get(name) or asyncio.create_task(asyncio.to_thread(shutil.disk_usage, folder))
            self._disk_usage[name] = reading
            try:
                usage = await asyncio.wait_for(asyncio.shield(reading), _FOLDER_PATIENCE_S)
            except (OSError, TimeoutError):
                self._metrics.folder_free.labels(name).set(_UNKNOWN)
                continue
            finally:
                if reading.done():
                    del self._disk_usage[name]
            self._metrics.folder_free.labels(name).set(usage.free)
            self._metrics.folder_size.labels(name).set(usage.total)


async def _read(session: AsyncSession, now: datetime, silent_after: timedelta) -> _Sample:
    oldest = await session.scalar(select(func.min(Job.queued_at)).where(Job.state == "queued"))
    last_reports = (
        select(func.coalesce(Attempt.heartbeat_at, Attempt.created_at))
        .join(Job, Job.current_attempt_id == Attempt.id)
        .where(Job.state == "running", Attempt.ended_at.is_(None))
    )
    silent = [now - reported_at for reported_at in await session.scalars(last_reports)]
    return _Sample(
        jobs=await job_counts.by_kind(session),
        oldest_queued_s=max(0.0, (now - oldest).total_seconds()) if oldest is not None else 0.0,
        silent_runs=sum(each > silent_after for each in silent),
        oldest_heartbeat_s=max((each.total_seconds() for each in silent), default=0.0),
    )
