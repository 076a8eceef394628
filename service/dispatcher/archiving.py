"""Archives ended attempts: the run is over, its log is stored, and its resources are free.

If Ray does not answer about a run, archiving is retried a bounded number of times; a restart does not reset the count.
Then the attempt is archived without the rest of its log, and an event and the log itself record the gap.
"""

from contextlib import suppress
from datetime import timedelta

import structlog

from fgd_core.errors import ClusterError
from fgd_core.retrying import RetryPolicy
from fgd_core.spec.events import ArtifactSaved, Warned
from service.dispatcher import driver_log
from service.dispatcher.cluster import ClusterAwayError
from service.dispatcher.context import Context
from service.store import artifacts, attempts, events
from service.store.tables import Attempt

MAX_TRIES = 6
RETRIES = RetryPolicy(first_pause_s=5.0, longest_pause_s=80.0, max_tries=MAX_TRIES)
"""Pauses of 5, 10, 20, 40 and 80 s, each shortened at random by up to a half."""

log = structlog.get_logger(__name__)


class ArchiveAttempts:
    """Archives each attempt that has ended."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def run(self) -> None:
        """Raises as `FanOut.each`."""
        async with self._context.database.reading() as session:
            ended = await attempts.unarchived(session, self._context.clock())
        await self._context.fan_out.each({attempt.id: attempt for attempt in ended}, self._archive)

    async def _archive(self, attempt: Attempt) -> None:
        context = self._context
        try:
            run = await context.cluster.job(attempt.submission_id)
            if run is not None and not run.is_over:
                # It has sent its final event and should end; if it does not, it holds resources.
                assert attempt.ended_at is not None
                if (context.clock() - attempt.ended_at).total_seconds() >= context.settings.cancel_grace_s:
                    await context.cluster.stop(attempt.submission_id)
                return
            saved = await driver_log.archive(context.cluster, attempt, context.storage)
        except ClusterAwayError:
            raise
        except ClusterError as refusal:
            tries = attempt.archive_tries + 1
            log.warning("archive_refused", submission_id=attempt.submission_id, tries=tries, error=str(refusal))
            pause_s = RETRIES.pause_s(tries)
            if pause_s is None:
                await self._archive_incomplete(attempt, refusal)
                return
            async with context.leadership.writing() as session:
                after = context.clock() + timedelta(seconds=pause_s)
                await attempts.archive_later(session, attempt.id, tries=tries, after=after)
            return
        await self._record(attempt, saved, is_off_dashboard=run is None)

    async def _archive_incomplete(self, attempt: Attempt, refusal: ClusterError) -> None:
        with suppress(ClusterError):
            # Ray may not have reported whether it still runs.
            await self._context.cluster.stop(attempt.submission_id)
        cause = str(refusal.details.get("cause") or refusal.message)
        saved = await driver_log.archive_gap(attempt, self._context.storage, cause)
        message = f"the rest of {driver_log.name(attempt)} could not be read from Ray in {MAX_TRIES} tries: {cause}"
        await self._record(attempt, saved, gap=Warned(code="log_incomplete", message=message))
        log.warning("log_incomplete", job_id=attempt.job_id, submission_id=attempt.submission_id, cause=cause)

    async def _record(
        self,
        attempt: Attempt,
        saved: ArtifactSaved | None,
        *,
        is_off_dashboard: bool = False,
        gap: Warned | None = None,
    ) -> None:
        now = self._context.clock()
        async with self._context.leadership.writing() as session:
            if saved is not None:
                await artifacts.record(session, attempt.job_id, saved, now)
            if gap is not None:
                await events.append(session, attempt.job_id, attempt.number, [(now, gap)])
            await attempts.archive(session, attempt.id, now)
            if is_off_dashboard:
                await attempts.off_dashboard(session, attempt.id)
        # Its resources may be free now.
        self._context.wake.set()


class CopyLogs:
    """Copies the logs of active runs into the storage, a few in each tick."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def run(self) -> None:
        """Raises as `FanOut.each`."""
        context = self._context
        now = context.clock()
        due = await driver_log.due(context.database, context.storage, now)

        async def copy(attempt: Attempt) -> None:
            await driver_log.copy(context.database, context.cluster, context.storage, attempt, now)

        await context.fan_out.each({f"log of {attempt.id}": attempt for attempt in due}, copy)
