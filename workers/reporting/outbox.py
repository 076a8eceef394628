"""Events that have not reached the control plane yet: on disk, where they outlive the process."""

import sys
import threading
from collections import deque
from datetime import datetime
from itertools import islice
from pathlib import Path

from workers.reporting.spool import Spool

MAX_IN_MEMORY = 10_000
MAX_BATCH_BYTES = 1_000_000


class Outbox:
    """Numbers events from 1 and keeps them until they are acknowledged. Every method may be called from any thread.

    They are read back from the file batch by batch, so memory stays bounded however long the control plane is away.
    When the file cannot be written (full disk), later events stay in memory; past MAX_IN_MEMORY, those that may be
    dropped are, before they get a number, so that no gap arises.

    Args:
        path: the file. What an earlier process left unacknowledged in it comes first. None keeps all in memory.
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
                self._give_up_on_disk(error)
        self._last = self._spool.num_lines if self._spool else 0
        self._acknowledged = self._spool.consumed if self._spool else 0

    def append(self, at: datetime, event_json: str, *, may_drop: bool = False) -> None:
        """Keep an event. Never raises: a run goes on even where nothing can be kept."""
        with self._lock:
            if may_drop and len(self._memory) >= MAX_IN_MEMORY:
                return
            self._last += 1
            # Put together by hand: a batch is these lines joined, without parsing any of them again.
            line = f'{{"sequence":{self._last},"at":"{at.isoformat()}","event":{event_json}}}'
            if self._spool is not None and self._disk_is_writable:
                try:
                    self._spool.append(line)
                    return
                except OSError as error:
                    self._give_up_on_disk(error)
            self._memory.append(line)

    def unsent(self, limit: int) -> list[str]:
        """The oldest events that are not acknowledged, in order, each a `ReportedEvent` in JSON.

        At most `limit` of them, and of MAX_BATCH_BYTES together, but one at least.
        """
        with self._lock:
            if self._spool is not None and self._spool.consumed < self._spool.num_lines:
                return self._spool.head(limit, MAX_BATCH_BYTES)
            return list(islice(self._memory, limit))

    def acknowledge(self, sequence: int) -> bool:
        """Forget events up to this one; False where that is nothing new."""
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

    def _give_up_on_disk(self, error: OSError) -> None:
        self._disk_is_writable = False
        sys.stderr.write(f"the outbox cannot be written ({error}); events stay in memory from here on\n")
        sys.stderr.flush()
