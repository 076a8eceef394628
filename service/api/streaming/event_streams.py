"""Server-sent events for many readers: of one job, and of all that somebody sees.

A stream replays from where its reader left off, goes on as things happen, shows that it is alive, and ends after its
lifetime for the reader to come back. It never holds a database connection while it waits.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from fgd_core.errors import FgdError
from service.api.streaming.broadcast import Feed, Frame, P, Source
from service.api.streaming.event_sources import AllEvents, JobEvents
from service.metrics import Metrics
from service.settings import Settings
from service.store.all_events import EVERYTHING, Filter, Position
from service.store.session import Database

_RETRY_MS = 1000
# Each reader that catches up takes a connection for a moment; those who write need some too.
_CATCHING_UP_AT_ONCE = 4
# Where many jobs are watched at once, each is looked at less often.
_POLL_FOR_EACH_FEED_S = 0.01


class Streams:
    """All event streams of this process."""

    def __init__(self, database: Database, settings: Settings, metrics: Metrics) -> None:
        self._database = database
        self._settings = settings
        self._feeds: dict[str | None, Feed[Any]] = {}
        """By job; under None that of all jobs."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._turns = asyncio.Semaphore(_CATCHING_UP_AT_ONCE)
        self._metrics = metrics
        metrics.count_readers("job", lambda: self._count_readers(of_all=False))
        metrics.count_readers("all", lambda: self._count_readers(of_all=True))

    def of_job(self, job_id: str, after: int) -> AsyncIterator[bytes]:
        """Events behind sequence `after`, until the job is over and all was sent."""
        return self._stream(job_id, JobEvents(self._database, job_id), None, after, lambda _: True)

    def of_all(self, after: Position | None, wanted: Filter) -> AsyncIterator[bytes]:
        """Events of all jobs that pass, behind `after` or from now on, without end."""

        def takes(frame: Frame[Position]) -> bool:
            return wanted.takes(frame.project, frame.job_id, frame.kind)

        own = AllEvents(self._database, wanted) if wanted != EVERYTHING else None
        return self._stream(None, AllEvents(self._database), own, after, takes)

    async def _stream(
        self,
        key: str | None,
        shared: Source[P],
        own: Source[P] | None,
        cursor: P | None,
        takes: Callable[[Frame[P]], bool],
    ) -> AsyncIterator[bytes]:
        """Args: shared: what all readers of `key` follow. own: what this reader catches up with, where that is less."""
        ends_at = time.monotonic() + self._settings.sse_lifetime_s
        yield f"retry: {_RETRY_MS}\n\n".encode()
        try:
            feed: Feed[P] = self._feeds.get(key) or await self._open(key, shared)
            if cursor is None:
                cursor = feed.head
            with feed.reader():
                async for payload in self._follow(feed, own, cursor, takes, ends_at):
                    yield payload
        except FgdError:
            # The job has been deleted, or the database is away. The reader comes back, and is told which.
            return

    async def _follow(
        self, feed: Feed[P], own: Source[P] | None, cursor: P, takes: Callable[[Frame[P]], bool], ends_at: float
    ) -> AsyncIterator[bytes]:
        sent_at = time.monotonic()
        while True:
            changed = feed.changed
            if feed.holds(cursor):
                frames, payload = feed.since(cursor)
                if frames:
                    cursor = frames[-1].position
                    wanted = [frame for frame in frames if takes(frame)]
                    if len(wanted) < len(frames):
                        payload = b"".join(frame.payload for frame in wanted)
            else:
                async with self._turns:
                    past = await (own or feed).past(cursor)
                cursor, payload = past.end, past.payload
            if payload:
                yield payload
                sent_at = time.monotonic()
                continue
            if feed.is_closed or time.monotonic() >= ends_at or (feed.is_last and cursor >= feed.head):
                return
            if time.monotonic() - sent_at >= self._settings.sse_keep_alive_s:
                yield feed.ping(cursor)
                sent_at = time.monotonic()
            await changed.wait()

    async def _open(self, key: str | None, source: Source[P]) -> Feed[P]:
        first = await source.first()
        # Another reader may have come in the meantime.
        if key in self._feeds:
            return self._feeds[key]
        feed = Feed(
            source,
            first,
            is_closing=lambda: self._database.notifier.closed,
            idle_s=self._settings.sse_keep_alive_s,
            poll_s=lambda: max(self._settings.sse_poll_s, _POLL_FOR_EACH_FEED_S * len(self._feeds)),
            late=self._metrics.stream_lag.observe,
        )
        self._feeds[key] = feed
        task = asyncio.create_task(self._run(key, feed), name=f"feed-{key or 'all'}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return feed

    def _count_readers(self, *, of_all: bool) -> int:
        return sum(feed.num_readers for key, feed in self._feeds.items() if (key is None) == of_all)

    async def _run(self, key: str | None, feed: Feed[P]) -> None:
        with self._database.notifier.subscribe(key) as woken:
            try:
                await feed.run(woken)
            finally:
                del self._feeds[key]
