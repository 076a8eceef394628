"""The outbox: events that the control plane has not acknowledged yet, in a file that outlives the process."""

import threading
from collections import deque
from datetime import datetime
from itertools import islice
from pathlib import Path

from workers.reporting.spool import Spool
from workers.run_log import write_error

MAX_IN_MEMORY = 10_000
MAX_BATCH_BYTES = 1_000_000


class Outbox:
    """Numbers events from 1 and stores them until they are acknowledged. Every method is safe for several threads.

    Events are read from the file batch by batch, so memory stays bounded however long the control plane is away. When
    the file cannot be written (full disk), later events stay in memory. When MAX_IN_MEMORY events are there, the outbox
    drops those with `may_drop` before it numbers them, so that the numbers have no gap.

    Args:
        path: the file. Events that an earlier process left unacknowledged in it come first. None stores all in memory.
    """

    def __init__(self, path: Path | None) -> None:
        self._lock = threading.Lock()
        self._memory: deque[str] = deque()
        self._spool: Spool | None = None
        self._disk_is_writable = path is not None
        if path is not None:
            try:
                self._spool = Spool(path)
            except OSError as error:
                self._stop_writing_to_disk(error)
        self._last = self._spool.num_lines if self._spool else 0
        self._acknowledged = self._spool.consumed if self._spool else 0

    def append(self, at: datetime, event_json: str, *, may_drop: bool = False) -> None:
        """Store an event. Never raises: a run continues even where nothing can be stored."""
        with self._lock:
            if may_drop and len(self._memory) >= MAX_IN_MEMORY:
                return
            self._last += 1
            # Formatted by hand: a batch joins these lines, and none of them is parsed again.
            line = f'{{"sequence":{self._last},"at":"{at.isoformat()}","event":{event_json}}}'
            if self._spool is not None and self._disk_is_writable:
                try:
                    self._spool.append(line)
                    return
                except OSError as error:
                    self._stop_writing_to_disk(error)
            self._memory.append(line)

    def unsent(self, limit: int) -> list[str]:
        """Return the oldest unacknowledged events in order, each a `ReportedEvent` in JSON.

        These are at most `limit` events and at most MAX_BATCH_BYTES, but always at least one if there is any.
        """
        with self._lock:
            if self._spool is not None and self._spool.consumed < self._spool.num_lines:
                return self._spool.head(limit, MAX_BATCH_BYTES)
            return list(islice(self._memory, limit))

    def acknowledge(self, sequence: int) -> bool:
        """Remove events up to this sequence; returns False if they were acknowledged before."""
        with self._lock:
            sequence = min(sequence, self._last)
            if sequence <= self._acknowledged:
                return False
            in_memory_from = self._spool.num_lines if self._spool else 0
            if self._spool is not None:
                self._spool.consume(sequence)
            for _ in range(sequence - max(self._acknowledged, in_memory_from)):
                self._memory.popleft()
            self._acknowledged = sequence
            return True

    @property
    def first_waiting(self) -> int:
        return self._acknowledged + 1

    @property
    def num_waiting(self) -> int:
        return self._last - self._acknowledged

    def _stop_writing_to_disk(self, error: OSError) -> None:
        self._disk_is_writable = False
        write_error(f"the outbox cannot be written ({error}); events stay in memory from here on")
