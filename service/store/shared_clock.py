"""Provides one time for all control planes of a database.

Control planes compare times that others stored: heartbeats, back-off, deadlines. If the clocks of their machines
differ, all of them use the time of the database server.
"""

from datetime import datetime, timedelta

import structlog

from service.clock import Clock, utc_now
from service.store.session import Database

UPDATE_EVERY_S = 60.0
_MIN_CHANGE = timedelta(seconds=0.1)
"""Smaller differences may come from the round trip to the database."""
_WARNING_LIMIT = timedelta(seconds=5)

log = structlog.get_logger(__name__)


class SharedClock:
    """A `Clock` with the time of the database server; before the first `set` and with SQLite, that of this machine."""

    def __init__(self, database: Database, own: Clock = utc_now) -> None:
        self._database = database
        self._own = own
        self._ahead = timedelta()

    def __call__(self) -> datetime:
        return self._own() + self._ahead

    async def set(self) -> None:
        """Measure the difference to the clock of the database server.

        Raises:
            DatabaseError: the database is unreachable or busy.
        """
        before = self._own()
        at = await self._database.server_time()
        if at is None:
            return
        ahead = at - (before + (self._own() - before) / 2)
        if abs(ahead - self._ahead) < _MIN_CHANGE:
            return
        self._ahead = ahead
        if abs(ahead) >= _WARNING_LIMIT:
            cure = "set this machine's clock; until then the database server's time is used"
            log.warning("clock_differs_from_database", database_is_ahead_s=round(ahead.total_seconds(), 3), cure=cure)
