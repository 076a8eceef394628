"""Keeps the newest ended runs on Ray's dashboard and deletes older ones there.

Ray's lists have no pages, and Ray deletes nothing by itself, except everything when its head ends.
"""

from collections import Counter
from datetime import datetime, timedelta

import structlog

from fgd_core.errors import ClusterError
from service.dispatcher.cluster import ClusterAwayError
from service.dispatcher.context import Context
from service.store import attempts
from service.store.tables import Attempt

SETTLED_S = 60.0
"""Ray watches each run's supervisor and records how it ended. If the run is deleted between the two, Ray finds no
record and creates a new one, FAILED and without an entry point, which stays until the head ends."""
PAUSE_S = 30.0
MAX_REFUSALS = 5
"""How often Ray may refuse to delete a run, or to report whether it has the run; after that the run stays in Ray."""
_AT_ONCE = 20
"""Requests to Ray in one pass, because other requests wait behind them."""

log = structlog.get_logger(__name__)


class DashboardCleanup:
    """Records which ended runs Ray no longer has, and deletes from Ray those beyond `settings.ray.keep_runs`."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._rests_until: datetime | None = None
        self._refusals: Counter[str] = Counter()
        """By attempt id. A restart loses the count, which costs a few questions."""

    async def run(self) -> None:
        """Raises as `FanOut.each`."""
        # As a step of one run: a run about which Ray does not answer must not block the tick.
        await self._context.fan_out.each({"dashboard cleanup": None}, lambda _: self._clean())

    async def _clean(self) -> None:
        """
        Raises:
            ClusterError: Ray is unreachable, or refused something; a refusal for one run does not stop the others.
        """
        now = self._context.clock()
        if self._rests_until is not None and now < self._rests_until:
            return
        self._rests_until = now + timedelta(seconds=PAUSE_S)
        async with self._context.database.reading() as session:
            num_kept, oldest = await attempts.on_dashboard(session, at_most=_AT_ONCE)
        refusal: ClusterError | None = None
        for number, attempt in enumerate(oldest):
            is_surplus = number < num_kept - self._context.settings.ray.keep_runs and _is_settled(attempt, now)
            try:
                if not await self._is_gone(attempt, is_surplus=is_surplus):
                    # Ray still has this run, so it also has those that ended later.
                    break
            except ClusterAwayError:
                raise
            except ClusterError as error:
                refusal = error
                if not self._give_up(attempt, error):
                    continue
            self._refusals.pop(attempt.id, None)
            async with self._context.database.writing() as session:
                await attempts.off_dashboard(session, attempt.id)
            log.info("run_off_dashboard", job_id=attempt.job_id, submission_id=attempt.submission_id)
        else:
            if len(oldest) == _AT_ONCE:
                self._rests_until = None
        if refusal is not None:
            raise refusal

    async def _is_gone(self, attempt: Attempt, *, is_surplus: bool) -> bool:
        """Delete a surplus run from Ray. Returns True if Ray no longer has the run."""
        if is_surplus:
            await self._context.cluster.delete(attempt.submission_id)
            return True
        return await self._context.cluster.job(attempt.submission_id) is None

    def _give_up(self, attempt: Attempt, error: ClusterError) -> bool:
        """Count a refusal. Returns True if it was the last one that is tolerated.

        Only the oldest runs are checked; runs that are retried for ever would take the place of all others.
        """
        self._refusals[attempt.id] += 1
        if self._refusals[attempt.id] < MAX_REFUSALS:
            return False
        log.warning("run_not_deleted_from_ray", submission_id=attempt.submission_id, error=str(error))
        return True


def _is_settled(attempt: Attempt, now: datetime) -> bool:
    return attempt.archived_at is not None and now - attempt.archived_at >= timedelta(seconds=SETTLED_S)
