"""What happens, read once for all who follow it: readers at the head are served from memory, the others catch up.

Each feed has one task that reads what is new, makes its bytes, and tells all readers. It waits a little between two
reads, so that a hundred small changes are one: for two hundred readers it is the number of wakes that costs, not their
size. A reader that is too slow falls out of what is kept in memory, and reads from the database until it is back; it
never makes the others wait.
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

_KEPT_BYTES = 1_000_000
_PIECES_OF_PAST = 8
_SHORTEST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 0.15
_PAUSE_FOR_EACH_READER_S = 0.0008
_RETRY_S = 1.0

P = TypeVar("P", int, Position)

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Frame(Generic[P]):
    position: P
    payload: bytes
    project: str = ""
    job_id: str = ""
    kind: str = ""


@dataclass(frozen=True)
class News(Generic[P]):
    frames: Sequence[Frame[P]]
    end: P
    """How far they reach; beyond the last frame where the rest is known to be nothing."""
    is_last: bool = False
    """Whether nothing more is to be expected behind `end`."""
    is_cut: bool = False
    """Whether there is more to be read at once."""


@dataclass(frozen=True)
class Past(Generic[P]):
    """A piece of what has been, for readers that are behind."""

    payload: bytes
    end: P


class Source(Protocol[P]):
    """Each may raise NotFoundError when there is nothing to follow any more, or a retryable error."""

    async def first(self) -> News[P]:
        """Where the head is, without what lies behind it."""
        ...

    async def behind(self, cursor: P) -> News[P]: ...

    async def past(self, cursor: P) -> Past[P]:
        """What lies behind a cursor, cut so that readers who began at several places soon stand at the same."""
        ...

    def ping(self, cursor: P) -> bytes:
        """What is sent to show that the stream is alive."""
        ...


class Feed(Generic[P]):
    """One source's newest events in memory.

    Args:
        is_closing: whether the server is going down.
        idle_s: readers are woken at least this often, to show that they are alive.
        poll_s: how long to wait before looking whether another process has written something.
        late: told how long it took, in seconds, from what this process stored until its readers were told.
    """

    def __init__(
        self,
        source: Source[P],
        first: News[P],
        *,
        is_closing: Callable[[], bool],
        idle_s: float,
        poll_s: Callable[[], float],
        late: Callable[[float], None] = lambda _: None,
    ) -> None:
        self.head: P = first.end
        self.is_last = first.is_last
        self.is_closed = False
        self.changed = asyncio.Event()
        """Set, and replaced by another one, at each change. Take it before looking, then wait for it."""
        self._source: Source[P] = source
        self._is_closing = is_closing
        self._idle_s = idle_s
        self._poll_s = poll_s
        self._late = late
        self._kept: deque[Frame[P]] = deque()
        self._kept_bytes = 0
        self._kept_from: P = first.end
        self._answers: dict[P, tuple[Sequence[Frame[P]], bytes]] = {}
        self._num_readers = 0
        self._told_at = time.monotonic()
        self._past: OrderedDict[P, Past[P]] = OrderedDict()
        self._turn = asyncio.Lock()

    @property
    def num_readers(self) -> int:
        return self._num_readers

    @contextmanager
    def reader(self) -> Iterator[None]:
        self._num_readers += 1
        try:
            yield
        finally:
            self._num_readers -= 1

    def holds(self, cursor: P) -> bool:
        """Whether all that comes behind `cursor` is in memory."""
        return cursor >= self._kept_from

    def since(self, cursor: P) -> tuple[Sequence[Frame[P]], bytes]:
        """The frames behind a cursor that it holds, and their bytes, made once for all who stand there."""
        if cursor not in self._answers:
            frames = list(takewhile(lambda frame: frame.position > cursor, reversed(self._kept)))[::-1]
            self._answers[cursor] = frames, b"".join(frame.payload for frame in frames)
        return self._answers[cursor]

    def ping(self, cursor: P) -> bytes:
        return self._source.ping(cursor)

    async def past(self, cursor: P) -> Past[P]:
        """What lies behind a cursor that it does not hold; read once for all who come by within a short time."""
        # One at a time: of a hundred readers that come at once, the others find there what the first has read.
        async with self._turn:
            found = self._past.get(cursor) or await self._source.past(cursor)
            # What it says stays true; where it has grown since, the reader goes on behind its end.
            if found.payload:
                self._past[cursor] = found
                self._past.move_to_end(cursor)
                if len(self._past) > _PIECES_OF_PAST:
                    self._past.popitem(last=False)
            return found

    async def run(self, woken: Woken) -> None:
        """Read and tell until nobody listens, the subject is gone, or the server goes down.

        Args:
            woken: set when there may be something new, and when the server goes down.
        """
        try:
            while not self._is_closing() and self._num_readers > 0:
                stored_s = woken.since_s
                woken.clear()
                await self._look(woken, stored_s)
                await self._wait(woken)
        except NotFoundError:
            pass
        except Exception:
            log.exception("feed_failed")
        finally:
            self.is_closed = True
            self._tell()

    async def _look(self, woken: Woken, stored_s: float | None) -> None:
        try:
            news = await self._source.behind(self.head)
        except FgdError as error:
            if not error.retryable:
                raise
            # A database that is away says nothing about what happened; the readers stay.
            log.warning("feed_waits", error=str(error))
            await asyncio.sleep(_RETRY_S)
            woken.set()
            return
        is_news = bool(news.frames) or news.is_last != self.is_last
        self.head, self.is_last = news.end, news.is_last
        self._keep(news.frames)
        if is_news:
            self._tell()
            if stored_s is not None:
                self._late(time.monotonic() - stored_s)
            pause_s = max(_SHORTEST_PAUSE_S, _PAUSE_FOR_EACH_READER_S * self._num_readers)
            await asyncio.sleep(min(_LONGEST_PAUSE_S, pause_s))
        if news.is_cut:
            woken.set()

    async def _wait(self, woken: Woken) -> None:
        try:
            async with asyncio.timeout(min(self._poll_s(), self._idle_s)):
                await woken.wait()
        except TimeoutError:
            pass
        if time.monotonic() - self._told_at >= self._idle_s:
            self._tell()

    def _keep(self, frames: Sequence[Frame[P]]) -> None:
        self._kept.extend(frames)
        self._kept_bytes += sum(len(frame.payload) for frame in frames)
        while self._kept_bytes > _KEPT_BYTES:
            oldest = self._kept.popleft()
            self._kept_bytes -= len(oldest.payload)
            self._kept_from = oldest.position

    def _tell(self) -> None:
        self._answers.clear()
        self._told_at = time.monotonic()
        self.changed.set()
        self.changed = asyncio.Event()
