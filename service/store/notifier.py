"""Wakes the readers in this process when a job changes. Readers find changes by other processes by polling."""

import time
from asyncio import Event
from collections.abc import Iterator
from contextlib import contextmanager


class Woken(Event):
    """An event that remembers when it was set."""

    since_s: float | None = None
    """Time of the first `set` since the last `clear`, by `time.monotonic`."""

    def set(self) -> None:
        if not self.is_set():
            self.since_s = time.monotonic()
        super().set()

    def clear(self) -> None:
        self.since_s = None
        super().clear()


class Notifier:
    """Keeps the subscriptions of readers and wakes them."""

    def __init__(self) -> None:
        self._readers: dict[str | None, set[Woken]] = {}
        self.closed = False

    @contextmanager
    def subscribe(self, job_id: str | None) -> Iterator[Woken]:
        """Provide an event that is set at each change of a job; None subscribes to all jobs.

        Clear the event before you read: otherwise a change during the read goes unnoticed.
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
        """Wake the readers of a job."""
        for key in (job_id, None):
            for woken in self._readers.get(key, ()):
                woken.set()

    def close(self) -> None:
        """Wake all readers so that they stop, because the server is shutting down."""
        self.closed = True
        for readers in self._readers.values():
            for woken in readers:
                woken.set()
