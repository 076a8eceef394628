"""A run's log as far as it goes: from the cluster while the run is under way, afterwards from the file it was put into.

All who follow one attempt share one look at a time, for Ray hands out a log as a whole only.
"""

import asyncio
import codecs
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from fgd_core.errors import ClusterError, NotFoundError, StorageError
from service.dispatcher import driver_log
from service.dispatcher.cluster import Cluster, ClusterAwayError
from service.dispatcher.excerpts import HEAD_BYTES, NOTE_BYTES, Excerpt, Gap
from service.jobs.lifecycle import is_over
from service.settings import Settings
from service.storage import threads
from service.storage.base import Storage
from service.store import artifacts, attempts, jobs
from service.store.session import Database
from service.store.tables import Attempt

_PIECE_BYTES = 256 * 1024
# A log of 10 MB is asked for every 10 seconds.
_LONGER_FOR_EACH_BYTE_S = 1e-6


@dataclass(frozen=True)
class Piece:
    attempt: int
    offset: int
    """Of its first byte in the log of its attempt."""
    content: bytes
    """Whole lines, unless it is the end of the log or a line is very long; never a part of a character."""


@dataclass(frozen=True)
class Note:
    """What a reader should know and the run did not print."""

    text: str


class End:
    """There will be no more."""


@dataclass(frozen=True)
class ArchivedLog:
    """One in the storage. Offsets are those of the log as it was printed, also behind a gap."""

    storage: Storage
    path: str
    size_bytes: int
    """Of the file."""
    gap: Gap

    @classmethod
    def find(cls, storage: Storage, path: str) -> "ArchivedLog | None":
        """Raises StorageError."""
        found = storage.find(path)
        if found is None:
            return None
        if found.size_bytes <= HEAD_BYTES:
            return cls(storage, path, found.size_bytes, Gap())
        with storage.open(path).file as file:
            file.seek(HEAD_BYTES)
            return cls(storage, path, found.size_bytes, Gap.read(file.read(NOTE_BYTES)))

    @property
    def printed_bytes(self) -> int:
        return self.size_bytes - len(self.gap.note) + self.gap.num_bytes

    def read(self, offset: int, num_bytes: int) -> tuple[int, bytes]:
        """As `Excerpt.read`."""
        if self.gap.num_bytes and offset < HEAD_BYTES:
            num_bytes = min(num_bytes, HEAD_BYTES - offset)
            place = offset
        elif self.gap.num_bytes:
            offset = max(offset, HEAD_BYTES + self.gap.num_bytes)
            place = offset - self.gap.num_bytes + len(self.gap.note)
        else:
            place = offset
        with self.storage.open(self.path).file as file:
            file.seek(place)
            return offset, file.read(num_bytes)


@dataclass(frozen=True)
class Seen:
    """One look at the log of an attempt."""

    content: Excerpt | ArchivedLog
    is_complete: bool
    """Whether there will be no more of it."""
    is_away: bool
    """Whether the cluster could not be asked, so that this is an earlier copy."""
    job_is_over: bool
    newest_attempt: int
    refusal: str = ""
    """Why Ray, which can be reached, does not hand out this log, so that this is an earlier copy."""

    def rest(self, offset: int) -> Iterator[bytes]:
        """All that there is from `offset` on, a note in the place of what is left out."""
        while True:
            at, found = self.content.read(offset, _PIECE_BYTES)
            if not found:
                return
            if at > offset:
                yield Gap(at - offset).note
            yield found
            offset = at + len(found)

    def piece(self, offset: int) -> tuple[int, bytes]:
        """(offset, content) of what is to be sent next: from `offset` on, or behind what is left out of a long log.

        The content is empty where one has to wait.
        """
        at, found = self.content.read(offset, _PIECE_BYTES)
        if len(found) < _PIECE_BYTES and self.is_complete:
            return at, found
        # Ray may have read a line, or a character, that the run was still writing.
        whole = max(found.rfind(b"\n"), found.rfind(b"\r")) + 1
        return at, found[:whole] if whole or len(found) < _PIECE_BYTES else _whole_characters(found)


@dataclass(eq=False)
class _Shared:
    """What all followers of an attempt hold on to, and what goes with the last of them."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    seen: Seen | None = None
    is_good_until: float = 0.0


class Logs:
    def __init__(self, database: Database, storage: Storage, cluster: Cluster, settings: Settings) -> None:
        self._database = database
        self._storage = storage
        self._cluster = cluster
        self._settings = settings
        self._shared: WeakValueDictionary[tuple[str, int], _Shared] = WeakValueDictionary()

    async def number(self, job_id: str, wanted: int | None) -> int | None:
        """The attempt that is wanted; by default the newest, None before the first.

        Raises:
            NotFoundError: the job has no such attempt.
        """
        async with self._database.reading() as session:
            numbers = [attempt.number for attempt in await attempts.of_job(session, job_id)]
        if wanted is not None and wanted not in numbers:
            known = ", ".join(map(str, numbers)) or "none yet"
            raise NotFoundError(f"job {job_id} has no attempt {wanted}; it has: {known}", job_id=job_id)
        return wanted or max(numbers, default=None)

    async def look(self, job_id: str, number: int) -> Seen:
        """Raises NotFoundError: the job, or with it the attempt, is gone."""
        async with self._database.reading() as session:
            tried = {attempt.number: attempt for attempt in await attempts.of_job(session, job_id)}
            if number not in tried:
                raise jobs.unknown(job_id)
            attempt = tried[number]
            is_kept = await artifacts.get(session, job_id, driver_log.name(attempt)) is not None
            # Last of all: where the log was complete and the job over, there is no further attempt.
            over = is_over((await jobs.get(session, job_id)).state)
        is_complete = is_kept or attempt.archived_at is not None
        content, is_away, refusal = await self._content(attempt, is_complete=is_complete)
        return Seen(
            content,
            is_complete=is_complete,
            is_away=is_away,
            job_is_over=over,
            newest_attempt=max(tried),
            refusal=refusal,
        )

    async def follow(
        self, job_id: str, number: int | None, offset: int, *, goes_on: bool
    ) -> AsyncIterator[Piece | Note | End | None]:
        """The log from `offset` on as it grows; None now and then while nothing comes.

        Args:
            number: of the attempt to begin with; None: the newest.
            goes_on: with the attempts that follow, until the job is over; else it ends with this one.
        """
        was_away, refusal = False, ""
        with self._database.notifier.subscribe(job_id) as woken:
            while not self._database.notifier.closed:
                woken.clear()
                number = number or await self.number(job_id, None)
                if number is not None:
                    shared = self._shared.setdefault((job_id, number), _Shared())
                    seen = await self._look_shared(shared, job_id, number)
                    while True:
                        at, content = await threads.run(seen.piece, offset)
                        if not content:
                            break
                        if at > offset:
                            yield Note(f"{at - offset} bytes of this log are left out")
                        yield Piece(number, at, content)
                        offset = at + len(content)
                    if seen.is_complete and goes_on and seen.newest_attempt > number:
                        number, offset = number + 1, 0
                        yield Note(f"attempt {number}")
                        continue
                    if seen.is_complete and (seen.job_is_over or not goes_on):
                        yield End()
                        return
                    if seen.is_away and not was_away:
                        yield Note("the cluster cannot be reached; this is what was kept of the log, and more may come")
                    was_away = seen.is_away
                    if seen.refusal and seen.refusal != refusal:
                        yield Note(f"Ray does not hand out this log; the rest may come later: {seen.refusal}")
                    refusal = seen.refusal
                elif await self._is_over(job_id):
                    yield End()
                    return
                yield None
                try:
                    async with asyncio.timeout(self._settings.log_poll_s):
                        await woken.wait()
                except TimeoutError:
                    pass

    async def _look_shared(self, shared: _Shared, job_id: str, number: int) -> Seen:
        """The present look of all who follow this attempt, or a new one where that is old."""
        async with shared.lock:
            if shared.seen is None or time.monotonic() >= shared.is_good_until:
                shared.seen = await self.look(job_id, number)
                size_bytes = shared.seen.content.size_bytes if isinstance(shared.seen.content, Excerpt) else 0
                wait_s = max(self._settings.log_poll_s, _LONGER_FOR_EACH_BYTE_S * size_bytes)
                shared.is_good_until = time.monotonic() + wait_s
            return shared.seen

    async def _content(self, attempt: Attempt, *, is_complete: bool) -> tuple[Excerpt | ArchivedLog, bool, str]:
        """What there is of a log; whether the cluster is away; why it refuses to hand the log out."""
        path = driver_log.path(attempt)
        if is_complete:
            return await threads.run(ArchivedLog.find, self._storage, path) or Excerpt(), False, ""
        content, is_away, refusal = Excerpt(), False, ""
        try:
            content = await self._cluster.logs(attempt.submission_id)
        except ClusterAwayError:
            is_away = True
        except ClusterError as error:
            refusal = str(error.details.get("cause") or error.message)
        try:
            kept = await threads.run(ArchivedLog.find, self._storage, path)
        except StorageError:
            if is_away or refusal:
                raise
            return content, False, ""
        is_longer = kept is not None and kept.printed_bytes > content.size_bytes
        return (kept if kept is not None and is_longer else content), is_away, refusal

    async def _is_over(self, job_id: str) -> bool:
        async with self._database.reading() as session:
            return is_over((await jobs.get(session, job_id)).state)


def _whole_characters(text: bytes) -> bytes:
    """Without the character that its end cuts through; bytes that are no UTF-8 stay."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    decoder.decode(text)
    unfinished, _ = decoder.getstate()
    return text[: len(text) - len(unfinished)]
