"""Wakes the readers of this process when a job gets new events; other processes are found by polling."""

import time
from asyncio import Event
from collections.abc import Iterator
from contextlib import contextmanager


class Woken(Event):
    """Remembers since when there is something to read."""

    since_s: float | None = None
    """By `time.monotonic`."""

    def set(self) -> None:
        if not self.is_set():
            self.since_s = time.monotonic()
        super().set()

    def clear(self) -> None:
        self.since_s = None
        super().clear()


class Notifier:
    def __init__(self) -> None:
        self._readers: dict[str | None, set[Woken]] = {}
        self.closed = False

    @contextmanager
    def subscribe(self, job_id: str | None) -> Iterator[Woken]:
        """An event that is set at each change of a job, of any job for None.

        Clear it before reading, or a change in between goes unseen.
        """
        woken = Woken()
        readers = self._readers.setdefault(job_id, set())
        readers.add(woken)
        try:
            yield woken
        finally:
            readers.discard(woken)
            if not readers and self._readers.get(job_id) is readers:
                del self._readers[job_id]

    def notify(self, job_id: str) -> None:
        for key in (job_id, None):
            for woken in self._readers.get(key, ()):
                woken.set()

    def close(self) -> None:
        """Send all readers home: the server is going down."""
        self.closed = True
        for readers in self._readers.values():
            for woken in readers:
                woken.set()
