"""Leaves the runs that ended last on Ray's dashboard, where people look for them, and has Ray forget those before them.

Ray's lists have no pages, and it cleans nothing up. It forgets by itself, too: all of it, with its head.
"""

from collections import Counter
from datetime import datetime, timedelta

import structlog

from fgd_core.errors import ClusterError
from service.clock import Clock
from service.dispatcher.cluster import Cluster, ClusterAwayError
from service.store import attempts
from service.store.session import Database
from service.store.tables import Attempt

SETTLED_S = 60.0
"""Ray watches over each run's supervisor, and writes down how that ended. Where the run is deleted between the two, Ray
finds no record of it and makes a new one, FAILED and without an entry point, which stays until the head ends."""
PAUSE_S = 30.0
MAX_REFUSALS = 5
"""So often Ray may refuse to forget a run, or to say whether it has it; then the run is left to Ray."""
_AT_ONCE = 20
"""So many requests to Ray at most, for others wait behind them."""

log = structlog.get_logger(__name__)


class Forgetting:
    """
    Args:
        keep_runs: so many that ended stay with Ray.
    """

    def __init__(self, database: Database, cluster: Cluster, clock: Clock, *, keep_runs: int) -> None:
        self._database = database
        self._cluster = cluster
        self._clock = clock
        self._keep_runs = keep_runs
        self._rests_until: datetime | None = None
        self._refusals: Counter[str] = Counter()
        """By attempt. A restart begins anew, with a few questions."""

    async def step(self) -> None:
        """Take note of the oldest runs that Ray has no more, having it forget those that are too many.

        Raises:
            ClusterError: Ray cannot be reached, or refuses; the latter of one run keeps no other waiting.
        """
        now = self._clock()
        if self._rests_until is not None and now < self._rests_until:
            return
        self._rests_until = now + timedelta(seconds=PAUSE_S)
        async with self._database.reading() as session:
            num_kept, oldest = await attempts.on_dashboard(session, at_most=_AT_ONCE)
        refusal: ClusterError | None = None
        for number, attempt in enumerate(oldest):
            is_surplus = number < num_kept - self._keep_runs and _is_settled(attempt, now)
            try:
                if is_surplus:
                    await self._cluster.delete(attempt.submission_id)
                elif await self._cluster.job(attempt.submission_id) is not None:
                    # Then it has those that ended later as well.
                    break
            except ClusterAwayError:
                raise
            except ClusterError as error:
                refusal = error
                self._refusals[attempt.id] += 1
                if self._refusals[attempt.id] < MAX_REFUSALS:
                    continue
                # The oldest are looked at, and those that stay would take the place of all others in the end.
                log.warning("run_not_forgotten", submission_id=attempt.submission_id, error=str(error))
            self._refusals.pop(attempt.id, None)
            async with self._database.writing() as session:
                await attempts.off_dashboard(session, attempt.id)
            log.info("run_off_dashboard", job_id=attempt.job_id, submission_id=attempt.submission_id)
        else:
            if len(oldest) == _AT_ONCE:
                self._rests_until = None
        if refusal is not None:
            raise refusal


def _is_settled(attempt: Attempt, now: datetime) -> bool:
    return attempt.archived_at is not None and now - attempt.archived_at >= timedelta(seconds=SETTLED_S)
