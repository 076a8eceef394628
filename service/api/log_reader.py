"""The log of a run: from the cluster while the run is active, afterwards from the archived file.

All clients that follow one attempt share one snapshot at a time, because Ray returns a log only as a whole.
"""

import asyncio
import codecs
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from fgd_core.errors import ClusterError, NotFoundError, StorageError
from fgd_core.spec.views import LogNote
from service.dispatcher import driver_log
from service.dispatcher.cluster import Cluster, ClusterAwayError
from service.dispatcher.excerpts import HEAD_BYTES, NOTE_BYTES, Excerpt, Gap
from service.jobs.lifecycle import is_over
from service.settings import Settings
from service.storage import threads
from service.storage.base import Storage
from service.store import artifacts, attempts, events, jobs
from service.store.session import Database
from service.store.tables import Attempt

_CHUNK_BYTES = 256 * 1024
# A log of 10 MB is fetched from Ray every 10 seconds.
_POLL_PER_BYTE_S = 1e-6


@dataclass(frozen=True)
class LogChunk:
    """Consecutive bytes of the log of an attempt."""

    attempt: int
    offset: int
    """Position of the first byte in the log of its attempt."""
    content: bytes
    """Whole lines, except at the end of the log and within a very long line; never a part of a character."""


class End:
    """The end of a log: nothing will follow."""


LogItem = LogChunk | LogNote | End | None
"""What following a log yields; None when nothing has come for a while."""


@dataclass(frozen=True)
class ArchivedLog:
    """A log in the storage. Offsets count the bytes of the log as it was printed, also after a gap."""

    storage: Storage
    path: str
    size_bytes: int
    """Size of the file."""
    gap: Gap

    @classmethod
    def find(cls, storage: Storage, path: str) -> "ArchivedLog | None":
        """Return the archived log at `path`; None if there is none. Raises StorageError."""
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
        """Size of the log as it was printed."""
        return self.size_bytes - len(self.gap.note) + self.gap.num_bytes

    def read(self, offset: int, num_bytes: int) -> tuple[int, bytes]:
        """Return the next bytes as `Excerpt.read` does: (offset, content)."""
        place = offset
        if self.gap.num_bytes and offset < HEAD_BYTES:
            num_bytes = min(num_bytes, HEAD_BYTES - offset)
        elif self.gap.num_bytes:
            offset = max(offset, HEAD_BYTES + self.gap.num_bytes)
            place = offset - self.gap.num_bytes + len(self.gap.note)
        with self.storage.open(self.path).file as file:
            file.seek(place)
            return offset, file.read(num_bytes)


@dataclass(frozen=True)
class LogSnapshot:
    """The log of an attempt at one moment."""

    content: Excerpt | ArchivedLog
    is_complete: bool
    """True if the log will not grow."""
    job_is_over: bool
    newest_attempt: int
    trouble: str = ""
    """Why `content` is an earlier copy, which may lack the newest lines; empty if it has all of them."""

    def rest(self, offset: int) -> Iterator[bytes]:
        """Yield everything from `offset` on, with a note in place of a gap."""
        while True:
            at, found = self.content.read(offset, _CHUNK_BYTES)
            if not found:
                return
            if at > offset:
                yield Gap(at - offset).note
            yield found
            offset = at + len(found)

    def chunk(self, offset: int) -> tuple[int, bytes]:
        """Return what to send next: (offset, content), from `offset` on or, where that is in a gap, after the gap.

        The content is empty if the reader has to wait.
        """
        at, found = self.content.read(offset, _CHUNK_BYTES)
        if len(found) < _CHUNK_BYTES and self.is_complete:
            return at, found
        # Ray may have read a line, or a character, while the run was writing it.
        whole = max(found.rfind(b"\n"), found.rfind(b"\r")) + 1
        return at, found[:whole] if whole or len(found) < _CHUNK_BYTES else _whole_characters(found)

    async def chunks(self, attempt: int, offset: int) -> AsyncIterator[LogChunk | LogNote]:
        """Yield all chunks from `offset` on that can be sent now."""
        while True:
            at, content = await threads.run(self.chunk, offset)
            if not content:
                return
            if at > offset:
                yield LogNote(text=f"{at - offset} bytes of this log are left out")
            yield LogChunk(attempt, at, content)
            offset = at + len(content)


@dataclass(eq=False)
class _Shared:
    """The snapshot that all followers of an attempt share; it is dropped with the last follower."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    snapshot: LogSnapshot | None = None
    valid_until: float = 0.0


class LogReader:
    """Reads and follows the logs of attempts."""

    def __init__(self, database: Database, storage: Storage, cluster: Cluster, settings: Settings) -> None:
        self._database = database
        self._storage = storage
        self._cluster = cluster
        self._settings = settings
        self._shared: WeakValueDictionary[tuple[str, int], _Shared] = WeakValueDictionary()

    async def number(self, job_id: str, wanted: int | None) -> int | None:
        """Return the number of the wanted attempt (None: the newest); None if the job has no attempt yet.

        Raises:
            NotFoundError: the job has no such attempt.
        """
        async with self._database.reading() as session:
            numbers = [attempt.number for attempt in await attempts.of_job(session, job_id)]
        if wanted is not None and wanted not in numbers:
            known = ", ".join(map(str, numbers)) or "none yet"
            raise NotFoundError(f"job {job_id} has no attempt {wanted}; it has: {known}", job_id=job_id)
        return wanted or max(numbers, default=None)

    async def snapshot(self, job_id: str, number: int) -> LogSnapshot:
        """Return the log of an attempt as it is now.

        Raises:
            NotFoundError: the job, and the attempt with it, is deleted.
        """
        async with self._database.reading() as session:
            by_number = {attempt.number: attempt for attempt in await attempts.of_job(session, job_id)}
            if number not in by_number:
                raise events.unknown_job(job_id)
            attempt = by_number[number]
            is_archived = await artifacts.get(session, job_id, driver_log.name(attempt)) is not None
            # After the attempts: if the log is complete and the job is over, no later attempt exists.
            over = is_over((await jobs.get(session, job_id)).state)
        is_complete = is_archived or attempt.archived_at is not None
        content, trouble = await self._content(attempt, is_complete=is_complete)
        return LogSnapshot(content, is_complete, job_is_over=over, newest_attempt=max(by_number), trouble=trouble)

    async def follow(
        self, job_id: str, number: int | None, offset: int, *, later_attempts: bool
    ) -> AsyncIterator[LogItem]:
        """Yield the log from `offset` on as it grows; None while nothing comes.

        Args:
            number: the attempt to begin with; None: the newest.
            later_attempts: continue with the attempts that follow, until the job is over; otherwise end with this one.
        """
        trouble = ""
        with self._database.notifier.subscribe(job_id) as woken:
            while not self._database.notifier.closed:
                woken.clear()
                number = number or await self.number(job_id, None)
                if number is None and await self._is_over(job_id):
                    yield End()
                    return
                if number is not None:
                    # This reference keeps the shared snapshot alive between two looks.
                    shared = self._shared.setdefault((job_id, number), _Shared())
                    snapshot = await self._shared_snapshot(shared, job_id, number)
                    async for item in snapshot.chunks(number, offset):
                        yield item
                        if isinstance(item, LogChunk):
                            offset = item.offset + len(item.content)
                    if snapshot.is_complete and later_attempts and snapshot.newest_attempt > number:
                        number, offset = number + 1, 0
                        yield LogNote(text=f"attempt {number}")
                        continue
                    if snapshot.is_complete and (snapshot.job_is_over or not later_attempts):
                        yield End()
                        return
                    if snapshot.trouble and snapshot.trouble != trouble:
                        yield LogNote(text=snapshot.trouble)
                    trouble = snapshot.trouble
                yield None
                await self._wait(woken)

    async def _wait(self, woken: asyncio.Event) -> None:
        try:
            async with asyncio.timeout(self._settings.log_poll_s):
                await woken.wait()
        except TimeoutError:
            pass

    async def _shared_snapshot(self, shared: _Shared, job_id: str, number: int) -> LogSnapshot:
        """Return the snapshot that the followers of this attempt share, renewed if it is too old."""
        async with shared.lock:
            if shared.snapshot is None or time.monotonic() >= shared.valid_until:
                shared.snapshot = await self.snapshot(job_id, number)
                content = shared.snapshot.content
                size_bytes = content.size_bytes if isinstance(content, Excerpt) else 0
                wait_s = max(self._settings.log_poll_s, _POLL_PER_BYTE_S * size_bytes)
                shared.valid_until = time.monotonic() + wait_s
            return shared.snapshot

    async def _content(self, attempt: Attempt, *, is_complete: bool) -> tuple[Excerpt | ArchivedLog, str]:
        """Return (what there is of a log, why it may lack the newest lines)."""
        path = driver_log.path(attempt)
        if is_complete:
            return await threads.run(ArchivedLog.find, self._storage, path) or Excerpt(), ""
        content, trouble = Excerpt(), ""
        try:
            content = await self._cluster.logs(attempt.submission_id)
        except ClusterAwayError:
            trouble = "the cluster cannot be reached; this is the stored part of the log, and more may follow"
        except ClusterError as error:
            cause = error.details.get("cause") or error.message
            trouble = f"Ray does not return this log; the rest may follow later: {cause}"
        try:
            archived = await threads.run(ArchivedLog.find, self._storage, path)
        except StorageError:
            if trouble:
                raise
            return content, ""
        is_longer = archived is not None and archived.printed_bytes > content.size_bytes
        return (archived if archived is not None and is_longer else content), trouble

    async def _is_over(self, job_id: str) -> bool:
        async with self._database.reading() as session:
            return is_over((await jobs.get(session, job_id)).state)


def _whole_characters(text: bytes) -> bytes:
    """Cut off an incomplete UTF-8 character at the end; bytes that are not UTF-8 stay."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    decoder.decode(text)
    unfinished, _ = decoder.getstate()
    return text[: len(text) - len(unfinished)]
