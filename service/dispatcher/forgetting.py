"""Sees to it that Ray forgets the runs that were put away, for it may remember one again.

Ray watches over each run's supervisor and writes down how that ended. Where the run is deleted between the two, Ray
finds no record of it and makes a new one, FAILED and without an entry point, which stays until the head ends.
"""

from datetime import datetime, timedelta

import structlog

from service.clock import Clock
from service.dispatcher.cluster import Cluster
from service.store import attempts
from service.store.session import Database

WATCH_S = 60.0
"""How long after its deletion a run is looked for."""
PAUSE_S = 5.0

log = structlog.get_logger(__name__)


class Forgetting:
    def __init__(self, database: Database, cluster: Cluster, clock: Clock) -> None:
        self._database = database
        self._cluster = cluster
        self._clock = clock
        self._looked_at: datetime | None = None

    async def again(self) -> None:
        """Delete what came back; does nothing within PAUSE_S of the last time.

        Raises:
            ClusterError: Ray cannot be reached.
        """
        now = self._clock()
        if self._looked_at is not None and (now - self._looked_at).total_seconds() < PAUSE_S:
            return
        async with self._database.reading() as session:
            put_away = await attempts.archived_since(session, now - timedelta(seconds=WATCH_S))
        for attempt in put_away:
            word = await self._cluster.job(attempt.submission_id)
            if word is not None and word.is_over:
                await self._cluster.delete(attempt.submission_id)
                log.info("run_forgotten_again", job_id=attempt.job_id, submission_id=attempt.submission_id)
        self._looked_at = now
