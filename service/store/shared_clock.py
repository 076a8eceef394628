"""One time for all control planes of a database.

Times that one control plane stores are compared by the others: heartbeats, back-off, deadlines. Where their clocks
differ, all of them go by the database's.
"""

import asyncio
from datetime import datetime, timedelta

import structlog

from service.clock import Clock, utc_now
from service.errors import DatabaseError
from service.store.session import Database

_LOOK_EVERY_S = 60.0
_MIN_CHANGE = timedelta(seconds=0.1)
"""Less than this is the journey to the database."""
_WORTH_A_WARNING = timedelta(seconds=5)

log = structlog.get_logger(__name__)


class SharedClock:
    """A `Clock`. Until it has been set once, and beside an SQLite file, it is this machine's."""

    def __init__(self, database: Database, own: Clock = utc_now) -> None:
        self._database = database
        self._own = own
        self._ahead = timedelta()

    def __call__(self) -> datetime:
        return self._own() + self._ahead

    async def set(self) -> None:
        """Raises DatabaseError."""
        before = self._own()
        at = await self._database.server_time()
        if at is None:
            return
        ahead = at - (before + (self._own() - before) / 2)
        if abs(ahead - self._ahead) < _MIN_CHANGE:
            return
        self._ahead = ahead
        if abs(ahead) >= _WORTH_A_WARNING:
            cure = "set this machine's clock; until then the database's time counts"
            log.warning("clock_differs_from_database", database_is_ahead_s=round(ahead.total_seconds(), 3), cure=cure)

    async def keep(self) -> None:
        """Set it now and then until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            try:
                await self.set()
            except DatabaseError as error:
                log.debug("clock_not_set", error=str(error))
