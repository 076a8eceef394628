"""Bounds driver logs: a short log is kept whole, of a long log its beginning and its end.

A run may print 100 MB in one line, and bytes that are not text. This module decodes nothing, and keeps no more than a
fixed number of bytes.
"""

import re
from dataclasses import dataclass

HEAD_BYTES = 4 << 20
TAIL_BYTES = 12 << 20


@dataclass(frozen=True)
class Gap:
    """Counts the bytes of a long log that are left out, after its first `HEAD_BYTES`."""

    num_bytes: int = 0

    @property
    def note(self) -> bytes:
        """The text that replaces the bytes; empty if no bytes are left out."""
        return b"\n-- fgd: %d bytes of this log are left out --\n" % self.num_bytes if self.num_bytes else b""

    @classmethod
    def read(cls, text: bytes) -> "Gap":
        """Parse `note`, where `text` is the part of a stored log after its first `HEAD_BYTES`."""
        found = _NOTE.match(text)
        return cls(int(found[1])) if found is not None else cls()


NOTE_BYTES = len(Gap(2**63).note)
"""The longest possible note."""
_NOTE = re.compile(rb"\n-- fgd: (\d{1,19}) bytes of this log are left out --\n")


@dataclass(frozen=True)
class Excerpt:
    """Holds the beginning and the end of a run's output."""

    head: bytes = b""
    tail: bytes = b""
    gap: Gap = Gap()

    @property
    def stored(self) -> bytes:
        """The content of the stored file: a note replaces the gap."""
        return self.head + self.gap.note + self.tail

    @property
    def size_bytes(self) -> int:
        """Size of the whole log, including the gap."""
        return len(self.head) + self.gap.num_bytes + len(self.tail)

    def read(self, offset: int, num_bytes: int) -> tuple[int, bytes]:
        """Return (offset, content) of the next bytes at `offset`; if those are left out, of the bytes after the gap."""
        if offset < len(self.head):
            return offset, self.head[offset : offset + num_bytes]
        offset = max(offset, len(self.head) + self.gap.num_bytes)
        start = offset - len(self.head) - self.gap.num_bytes
        return offset, self.tail[start : start + num_bytes]

    def last_lines(self, count: int, *, max_bytes: int = 8192) -> list[str]:
        """Return the last lines, decoded, from the last `max_bytes`."""
        end = (self.head + self.tail if not self.gap.num_bytes else self.tail)[-max_bytes:]
        return end.decode("utf-8", "replace").splitlines()[-count:]

    def __str__(self) -> str:
        return self.stored.decode("utf-8", "replace")


class Gathering:
    """Collects a log block by block, and keeps an excerpt."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._tail = bytearray()
        self._num_behind_head = 0

    def add(self, block: bytes) -> None:
        """Append a block."""
        room = HEAD_BYTES - len(self._head)
        self._head += block[:room]
        rest = block[room:] if room < len(block) else b""
        self._num_behind_head += len(rest)
        self._tail += rest
        # Not at every block, because each deletion moves all bytes.
        if len(self._tail) > 2 * TAIL_BYTES:
            del self._tail[:-TAIL_BYTES]

    def excerpt(self) -> Excerpt:
        """Return the excerpt of all blocks so far."""
        tail = bytes(self._tail[-TAIL_BYTES:])
        return Excerpt(bytes(self._head), tail, Gap(self._num_behind_head - len(tail)))
