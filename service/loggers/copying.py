"""Copies what the database has to the loggers: the events of all jobs in order, and with them the points of curves.

A run knows nothing of loggers. The position of each logger is stored after each part of the copy: a server that was
killed continues there, and a new logger begins with the oldest job. Several control planes copy to one logger in turns,
by a lease.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from fgd_core.spec.events import StoredEvent
from service.clock import Clock
from service.jobs.lifecycle import is_over
from service.loggers.base import LoggedRun, Logger, LoggerError, NewPoints, Update
from service.loggers.choosing import logger_of
from service.settings import Settings
from service.settings.loggers import LoggerTarget
from service.store import all_events, curves, leases, logger_progress
from service.store.leases import Lease, StaleLeaseError
from service.store.logger_progress import NewPointsOf
from service.store.session import Database
from service.store.tables import Job

POLL_S = 2.0
EVENTS_AT_ONCE = 500
POINTS_AT_ONCE = 5_000

log = structlog.get_logger(__name__)


class Copier:
    """Copies to one logger."""

    def __init__(
        self, target: LoggerTarget, logger: Logger, database: Database, settings: Settings, clock: Clock
    ) -> None:
        self.key, self._logger = target.key, logger
        self._database, self._settings, self._clock = database, settings, clock
        self._holder = secrets.token_hex(16)
        self._lease: Lease | None = None

    async def run_once(self) -> bool:
        """Copy the next events. Returns True if more are there.

        Raises:
            LoggerAwayError: the destination does not answer; the next pass tries again.
            OSError: a file cannot be written; likewise.
        """
        async with self._database.writing() as session:
            self._lease = await self._acquire(session)
        if self._lease is None:
            return False
        async with self._database.reading() as session:
            position = await logger_progress.position(session, self.key)
            news = await all_events.since(session, position, all_events.EVERYTHING, limit=EVENTS_AT_ONCE)
        for job_id, first in _first_by_job([placed.event for placed in news.events]).items():
            await self._copy_job(job_id, first.at)
        if news.events:
            async with self._writing() as session:
                await logger_progress.save_position(session, self.key, news.end)
        return len(news.events) == EVENTS_AT_ONCE

    async def close(self) -> None:
        """Close the logger, and let another control plane continue at once."""
        await asyncio.to_thread(self._logger.close)
        if self._lease is not None:
            async with self._database.writing() as session:
                await leases.release(session, self._lease, self._clock())

    async def _copy_job(self, job_id: str, at: datetime) -> None:
        """Copy the state and all new points of a job; none if the job was deleted meanwhile."""
        is_first, has_more = True, True
        while is_first or has_more:
            async with self._database.reading() as session:
                job = await session.get(Job, job_id)
                if job is None:
                    return
                points = await logger_progress.new_points(session, self.key, job_id, limit=POINTS_AT_ONCE)
                # The end of a job is news of all its trials, even of those without new points.
                trials = await curves.trials(session, job_id) if is_over(job.state) else []
            for trial, of_trial in _by_trial(points, ["", *trials]).items():
                await self._write(Update(_run_of(job, trial, self._settings.lasting_url), at, of_trial))
            async with self._writing() as session:
                await logger_progress.save_copied(session, self.key, points)
            is_first, has_more = False, sum(len(each.steps) for each in points) == POINTS_AT_ONCE

    async def _write(self, update: Update) -> None:
        writing = asyncio.create_task(asyncio.to_thread(self._logger.write, update))
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            # Nothing ends the thread, and the logger must not be closed while it writes.
            await asyncio.gather(writing, return_exceptions=True)
            raise
        except LoggerError as error:
            if error.retryable:
                raise
            # One run that the destination refuses must not stop the copies of all others.
            log.error("logger_refused", logger=self.key, job_id=update.run.job_id, error=str(error))

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[AsyncSession]:
        """Open a transaction that commits only while this control plane holds the lease."""
        async with self._database.writing() as session:
            if await self._acquire(session) != self._lease:
                raise StaleLeaseError("another control plane copies to this logger now", logger=self.key)
            yield session

    async def _acquire(self, session: AsyncSession) -> Lease | None:
        return await leases.acquire(
            session, f"logger-{self.key}", self._holder, ttl_s=self._settings.lease_ttl_s, now=self._clock()
        )


def copiers(settings: Settings, database: Database, clock: Clock) -> list[Copier]:
    """Open the loggers of the settings, each with what copies to it.

    Raises:
        LoggerError: a package is missing.
    """
    return [Copier(target, logger_of(target, settings), database, settings, clock) for target in settings.loggers]


def _first_by_job(events: Sequence[StoredEvent]) -> Mapping[str, StoredEvent]:
    """Return the first event of each job, in their order.

    A pass that repeats a failed one finds more events of a job, and the same first one.
    """
    found: dict[str, StoredEvent] = {}
    for event in events:
        found.setdefault(event.job_id, event)
    return found


def _by_trial(points: Sequence[NewPointsOf], trials: Sequence[str]) -> Mapping[str, list[NewPoints]]:
    found: dict[str, list[NewPoints]] = {trial: [] for trial in trials}
    for each in points:
        found.setdefault(each.trial, []).append(NewPoints(each.curve, each.steps, each.values))
    return found


def _run_of(job: Job, trial: str, base_url: str) -> LoggedRun:
    return LoggedRun(
        job_id=job.id,
        trial=trial,
        name=job.name,
        kind=job.kind,
        project=job.project,
        submitted_by=job.submitted_by,
        state=job.state,
        spec=job.spec,
        created_at=job.created_at,
        ended_at=job.ended_at,
        url=f"{base_url}/v1/jobs/{job.id}/report?format=html",
    )
