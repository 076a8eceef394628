"""Server-sent event streams for many clients: the events of one job, or of all jobs that a client may see.

A stream replays events from where its client stopped, continues with new events, sends keep-alives, and ends after its
lifetime so that the client reconnects. It never holds a database connection while it waits.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import structlog

from fgd_core.errors import FgdError
from service.api.broadcast import Broadcast, Message, P, Source
from service.api.event_sources import AllEvents, JobEvents
from service.metrics import Metrics
from service.settings import Settings
from service.store.all_events import EVERYTHING, Filter, Position
from service.store.session import Database

_RETRY_MS = 1000
# Each client that catches up takes a connection for a moment; writers need some as well.
_MAX_CATCHING_UP = 4
# With many broadcasts, each polls less often.
_POLL_PER_BROADCAST_S = 0.01

log = structlog.get_logger(__name__)


class EventStreams:
    """Runs all event streams of this process: one broadcast for each job that has readers, and one for all jobs."""

    def __init__(self, database: Database, settings: Settings, metrics: Metrics) -> None:
        self._database = database
        self._settings = settings
        self._broadcasts: dict[str | None, Broadcast[Any]] = {}
        """By job id; None is the key of the broadcast for all jobs."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._catching_up = asyncio.Semaphore(_MAX_CATCHING_UP)
        self._metrics = metrics
        metrics.count_readers("job", lambda: self._count_readers(of_all=False))
        metrics.count_readers("all", lambda: self._count_readers(of_all=True))

    def of_job(self, job_id: str, after: int) -> AsyncIterator[bytes]:
        """Stream the events of a job after the sequence `after`, until the job is over and all events are sent."""
        return self._stream(job_id, JobEvents(self._database, job_id), None, after, lambda _: True)

    def of_all(self, after: Position | None, wanted: Filter) -> AsyncIterator[bytes]:
        """Stream the events that `wanted` admits, without end, after the position `after` (None: new events only)."""

        def is_wanted(message: Message[Position]) -> bool:
            return wanted.takes(message.project, message.job_id, message.kind)

        own = AllEvents(self._database, wanted) if wanted != EVERYTHING else None
        return self._stream(None, AllEvents(self._database), own, after, is_wanted)

    async def _stream(
        self,
        key: str | None,
        shared: Source[P],
        own: Source[P] | None,
        cursor: P | None,
        is_wanted: Callable[[Message[P]], bool],
    ) -> AsyncIterator[bytes]:
        """
        Args:
            shared: the source that all clients of `key` follow.
            own: the source that this client catches up from, if it holds fewer events than `shared`.
        """
        ends_at = time.monotonic() + self._settings.sse.lifetime_s
        yield f"retry: {_RETRY_MS}\n\n".encode()
        try:
            broadcast: Broadcast[P] = self._broadcasts.get(key) or await self._open(key, shared)
            if cursor is None:
                cursor = broadcast.end
            with broadcast.subscribe():
                async for payload in self._follow(broadcast, own, cursor, is_wanted, ends_at):
                    yield payload
        except FgdError:
            # The job is deleted, or the database cannot be reached: the client reconnects and gets that as an answer.
            return

    async def _follow(
        self,
        broadcast: Broadcast[P],
        own: Source[P] | None,
        cursor: P,
        is_wanted: Callable[[Message[P]], bool],
        ends_at: float,
    ) -> AsyncIterator[bytes]:
        sent_at = time.monotonic()
        while True:
            changed = broadcast.changed
            if broadcast.holds(cursor):
                messages, payload = broadcast.after(cursor)
                if messages:
                    cursor = messages[-1].position
                    wanted = [message for message in messages if is_wanted(message)]
                    if len(wanted) < len(messages):
                        payload = b"".join(message.payload for message in wanted)
            else:
                async with self._catching_up:
                    page = await (own or broadcast).page_after(cursor)
                cursor, payload = page.end, page.payload
            if payload:
                yield payload
                sent_at = time.monotonic()
                continue
            has_all = broadcast.is_last and cursor >= broadcast.end
            if broadcast.is_closed or time.monotonic() >= ends_at or has_all:
                return
            if time.monotonic() - sent_at >= self._settings.sse.keep_alive_s:
                yield broadcast.keep_alive(cursor)
                sent_at = time.monotonic()
            await changed.wait()

    async def _open(self, key: str | None, source: Source[P]) -> Broadcast[P]:
        start = await source.start()
        # Another client may have opened it during the await.
        if key in self._broadcasts:
            return self._broadcasts[key]
        broadcast = Broadcast(
            source,
            start,
            is_closing=lambda: self._database.notifier.closed,
            idle_s=self._settings.sse.keep_alive_s,
            poll_s=lambda: max(self._settings.sse.poll_s, _POLL_PER_BROADCAST_S * len(self._broadcasts)),
            observe_lag=self._metrics.stream_lag.observe,
        )
        self._broadcasts[key] = broadcast
        task = asyncio.create_task(self._run(key, broadcast), name=f"broadcast-{key or 'all'}")
        self._tasks.add(task)
        task.add_done_callback(self._finish)
        return broadcast

    def _count_readers(self, *, of_all: bool) -> int:
        counts = (each.num_subscribers for key, each in self._broadcasts.items() if (key is None) == of_all)
        return sum(counts)

    async def _run(self, key: str | None, broadcast: Broadcast[P]) -> None:
        with self._database.notifier.subscribe(key) as woken:
            try:
                await broadcast.run(woken)
            finally:
                del self._broadcasts[key]

    def _finish(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("broadcast_failed", exc_info=error)
