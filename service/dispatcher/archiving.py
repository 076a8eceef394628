"""Puts an ended attempt away: its run is over, its log is kept, and what it held is free.

A run that Ray will not talk about is tried a bounded number of times, which a restart does not begin anew. Then the
attempt is put away without the rest of its log, and an event and the log itself say so.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from datetime import timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from fgd_core.errors import ClusterError
from fgd_core.spec.events import ArtifactSaved, Warned
from service.clock import Clock
from service.dispatcher import driver_log
from service.dispatcher.cluster import Cluster, ClusterAwayError
from service.dispatcher.side_by_side import SideBySide
from service.settings import Settings
from service.storage.base import Storage
from service.store import artifacts, attempts, events
from service.store.session import Database
from service.store.tables import Attempt

MAX_TRIES = 6
FIRST_PAUSE_S = 5.0
"""Doubled at each try: 5, 10, 20, 40 and 80 s."""

Writing = Callable[[], AbstractAsyncContextManager[AsyncSession]]

log = structlog.get_logger(__name__)


class Archiving:
    """
    Args:
        writing: a transaction that is committed only by the control plane that dispatches.
        wake: called when something may have become free.
    """

    def __init__(
        self,
        database: Database,
        cluster: Cluster,
        settings: Settings,
        clock: Clock,
        *,
        storage: Storage,
        writing: Writing,
        side_by_side: SideBySide,
        wake: Callable[[], None],
    ) -> None:
        self._database = database
        self._cluster = cluster
        self._settings = settings
        self._clock = clock
        self._storage = storage
        self._writing = writing
        self._side_by_side = side_by_side
        self._wake = wake

    async def step(self) -> None:
        """Raises as `SideBySide.each`."""
        async with self._database.reading() as session:
            ended = await attempts.unarchived(session, self._clock())
        await self._side_by_side.each({attempt.id: attempt for attempt in ended}, self._archive)

    async def copy_logs(self) -> None:
        """Copy some logs of runs under way. Raises as `SideBySide.each`."""
        now = self._clock()
        due = await driver_log.due(self._database, self._storage, now)

        async def copy(attempt: Attempt) -> None:
            await driver_log.copy(self._database, self._cluster, self._storage, attempt, now)

        await self._side_by_side.each({f"log of {attempt.id}": attempt for attempt in due}, copy)

    async def _archive(self, attempt: Attempt) -> None:
        try:
            run = await self._cluster.job(attempt.submission_id)
            if run is not None and not run.is_over:
                # It has sent its final event and will end by itself; one that does not is holding resources.
                assert attempt.ended_at is not None
                if (self._clock() - attempt.ended_at).total_seconds() >= self._settings.cancel_grace_s:
                    await self._cluster.stop(attempt.submission_id)
                return
            saved = await driver_log.keep(self._cluster, attempt, self._storage)
        except ClusterAwayError:
            raise
        except ClusterError as refusal:
            tries = attempt.archive_tries + 1
            log.warning("archive_refused", submission_id=attempt.submission_id, tries=tries, error=str(refusal))
            if tries < MAX_TRIES:
                after = self._clock() + timedelta(seconds=FIRST_PAUSE_S * 2 ** (tries - 1))
                async with self._writing() as session:
                    await attempts.archive_later(session, attempt.id, tries=tries, after=after)
                return
            await self._give_up(attempt, refusal)
            return
        await self._put_away(attempt, saved, is_forgotten=run is None)

    async def _give_up(self, attempt: Attempt, refusal: ClusterError) -> None:
        with suppress(ClusterError):
            # Whether it still runs may be what Ray does not say.
            await self._cluster.stop(attempt.submission_id)
        why = str(refusal.details.get("cause") or refusal.message)
        saved = await driver_log.keep_gap(attempt, self._storage, why)
        message = f"the rest of {driver_log.name(attempt)} could not be had from Ray in {MAX_TRIES} tries: {why}"
        await self._put_away(attempt, saved, gap=Warned(code="log_incomplete", message=message))
        log.warning("log_incomplete", job_id=attempt.job_id, submission_id=attempt.submission_id, cause=why)

    async def _put_away(
        self, attempt: Attempt, saved: ArtifactSaved | None, *, is_forgotten: bool = False, gap: Warned | None = None
    ) -> None:
        now = self._clock()
        async with self._writing() as session:
            if saved is not None:
                await artifacts.record(session, attempt.job_id, saved, now)
            if gap is not None:
                await events.append(session, attempt.job_id, attempt.number, [(now, gap)])
            await attempts.archive(session, attempt.id, now)
            if is_forgotten:
                await attempts.off_dashboard(session, attempt.id)
        # What it held may be free now.
        self._wake()
