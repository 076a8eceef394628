"""A broadcast: one task reads new events once, and hands their bytes to all subscribers.

Subscribers at the end get the events from memory; the others catch up from the database. The task waits a little
between two reads, so that a hundred small changes become one message: with two hundred subscribers the number of
wake-ups costs more than their size. A subscriber that is too slow falls behind what is in memory, and reads from the
database until it has caught up; it never makes the others wait.
"""

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from typing import Generic, Protocol, TypeVar

import structlog

from fgd_core.errors import FgdError, NotFoundError
from service.store.all_events import Position
from service.store.notifier import Woken

_MAX_BYTES_IN_MEMORY = 1_000_000
_MAX_PAGES_IN_MEMORY = 8
_MIN_PAUSE_S = 0.05
_MAX_PAUSE_S = 0.15
_PAUSE_PER_SUBSCRIBER_S = 0.0008
_RETRY_S = 1.0

P = TypeVar("P", int, Position)

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Message(Generic[P]):
    """One event, as the bytes that go to the clients, and what filters need to know of it."""

    position: P
    payload: bytes
    project: str = ""
    job_id: str = ""
    kind: str = ""


@dataclass(frozen=True)
class Batch(Generic[P]):
    """Consecutive messages of a source."""

    messages: Sequence[Message[P]]
    end: P
    """Where the next batch begins; after the last message if the source knows that nothing else lies in between."""
    is_last: bool = False
    """True if no messages will follow `end`."""
    has_more: bool = False
    """True if the source has more messages that can be read at once."""


@dataclass(frozen=True)
class Page(Generic[P]):
    """Older messages as bytes, for subscribers that catch up."""

    payload: bytes
    end: P


class Source(Protocol[P]):
    """What a broadcast reads from.

    Each method may raise NotFoundError when the source no longer exists, or a retryable error.
    """

    async def start(self) -> Batch[P]:
        """Return the present end, without messages."""

    async def batch_after(self, cursor: P) -> Batch[P]:
        """Return the messages after `cursor`."""

    async def page_after(self, cursor: P) -> Page[P]:
        """Return messages after `cursor`, cut so that subscribers who started in different places soon meet."""

    def keep_alive(self, cursor: P) -> bytes:
        """Return what a subscriber at `cursor` is sent when nothing else is due."""


class Broadcast(Generic[P]):
    """Holds the newest messages of one source in memory, for all its subscribers.

    Args:
        is_closing: tells whether the server is shutting down.
        idle_s: subscribers wake up at least this often, to send a keep-alive.
        poll_s: returns the pause before the next look for what other processes have written.
        observe_lag: receives the seconds from the write in this process until its subscribers were notified.
    """

    def __init__(
        self,
        source: Source[P],
        start: Batch[P],
        *,
        is_closing: Callable[[], bool],
        idle_s: float,
        poll_s: Callable[[], float],
        observe_lag: Callable[[float], None] = lambda _: None,
    ) -> None:
        self.end: P = start.end
        self.is_last = start.is_last
        self.is_closed = False
        self.changed = asyncio.Event()
        """Set and replaced at each change. Take it before reading, then wait for it."""
        self._source: Source[P] = source
        self._is_closing = is_closing
        self._idle_s = idle_s
        self._poll_s = poll_s
        self._observe_lag = observe_lag
        self._messages: deque[Message[P]] = deque()
        self._num_bytes = 0
        self._begin: P = start.end
        self._selections: dict[P, tuple[Sequence[Message[P]], bytes]] = {}
        self.num_subscribers = 0
        self._notified_at = time.monotonic()
        self._pages: OrderedDict[P, Page[P]] = OrderedDict()
        self._page_lock = asyncio.Lock()

    @contextmanager
    def subscribe(self) -> Iterator[None]:
        """Counts a subscriber; the task ends when there is none."""
        self.num_subscribers += 1
        try:
            yield
        finally:
            self.num_subscribers -= 1

    def holds(self, cursor: P) -> bool:
        """Tells whether every message after `cursor` is in memory."""
        return cursor >= self._begin

    def after(self, cursor: P) -> tuple[Sequence[Message[P]], bytes]:
        """Return the messages in memory after `cursor`, and their bytes, joined once for all subscribers there."""
        if cursor not in self._selections:
            newer = takewhile(lambda message: message.position > cursor, reversed(self._messages))
            messages = list(newer)[::-1]
            self._selections[cursor] = messages, b"".join(message.payload for message in messages)
        return self._selections[cursor]

    def keep_alive(self, cursor: P) -> bytes:
        """Return what a subscriber at `cursor` is sent when nothing else is due."""
        return self._source.keep_alive(cursor)

    async def page_after(self, cursor: P) -> Page[P]:
        """Return messages after a cursor that is older than the memory; subscribers that come soon after share it."""
        # One read at a time: of a hundred subscribers that come together, all but the first find its page.
        async with self._page_lock:
            page = self._pages.get(cursor) or await self._source.page_after(cursor)
            # Events never change, so a page stays valid; newer ones follow its end.
            if page.payload:
                self._pages[cursor] = page
                self._pages.move_to_end(cursor)
                if len(self._pages) > _MAX_PAGES_IN_MEMORY:
                    self._pages.popitem(last=False)
            return page

    async def run(self, woken: Woken) -> None:
        """Read and notify until there is no subscriber, the source no longer exists, or the server shuts down.

        Args:
            woken: set when there may be new events, and when the server shuts down.
        """
        try:
            while not self._is_closing() and self.num_subscribers > 0:
                stored_s = woken.since_s
                woken.clear()
                await self._read(woken, stored_s)
                await self._wait(woken)
        except NotFoundError:
            pass
        finally:
            self.is_closed = True
            self._notify()

    async def _read(self, woken: Woken, stored_s: float | None) -> None:
        try:
            batch = await self._source.batch_after(self.end)
        except FgdError as error:
            if not error.retryable:
                raise
            # Subscribers stay while the database cannot be reached: that says nothing about their jobs.
            log.warning("broadcast_waits_for_database", error=str(error))
            await asyncio.sleep(_RETRY_S)
            woken.set()
            return
        has_changed = bool(batch.messages) or batch.is_last != self.is_last
        self.end, self.is_last = batch.end, batch.is_last
        self._add(batch.messages)
        if has_changed:
            self._notify()
            if stored_s is not None:
                self._observe_lag(time.monotonic() - stored_s)
            pause_s = max(_MIN_PAUSE_S, _PAUSE_PER_SUBSCRIBER_S * self.num_subscribers)
            await asyncio.sleep(min(_MAX_PAUSE_S, pause_s))
        if batch.has_more:
            woken.set()

    async def _wait(self, woken: Woken) -> None:
        try:
            async with asyncio.timeout(min(self._poll_s(), self._idle_s)):
                await woken.wait()
        except TimeoutError:
            pass
        if time.monotonic() - self._notified_at >= self._idle_s:
            self._notify()

    def _add(self, messages: Sequence[Message[P]]) -> None:
        self._messages.extend(messages)
        self._num_bytes += sum(len(message.payload) for message in messages)
        while self._num_bytes > _MAX_BYTES_IN_MEMORY:
            oldest = self._messages.popleft()
            self._num_bytes -= len(oldest.payload)
            self._begin = oldest.position

    def _notify(self) -> None:
        self._selections.clear()
        self._notified_at = time.monotonic()
        self.changed.set()
        self.changed = asyncio.Event()
