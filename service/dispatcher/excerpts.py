"""A driver log within bounds: whole where it is short, its beginning and its end where it is long.

A run may print 100 MB in one line, and bytes that are no text. Nothing here decodes, and nothing keeps more than a
fixed number of bytes.
"""

import re
from dataclasses import dataclass

HEAD_BYTES = 4 << 20
TAIL_BYTES = 12 << 20


@dataclass(frozen=True)
class Gap:
    """The bytes of a long log that are left out, right behind its first `HEAD_BYTES`."""

    num_bytes: int = 0

    @property
    def note(self) -> bytes:
        """What stands in the place of the bytes; nothing where no bytes are left out."""
        return b"\n-- fgd: %d bytes of this log are left out --\n" % self.num_bytes if self.num_bytes else b""

    @classmethod
    def read(cls, text: bytes) -> "Gap":
        """The inverse of `note`: `text` is what a stored log holds behind its first `HEAD_BYTES`."""
        found = _NOTE.match(text)
        return cls(int(found[1])) if found is not None else cls()


NOTE_BYTES = len(Gap(2**63).note)
"""No note is longer."""
_NOTE = re.compile(rb"\n-- fgd: (\d{1,19}) bytes of this log are left out --\n")


@dataclass(frozen=True)
class Excerpt:
    """What a run printed."""

    head: bytes = b""
    tail: bytes = b""
    gap: Gap = Gap()

    @classmethod
    def of(cls, *blocks: bytes) -> "Excerpt":
        gathering = Gathering()
        for block in blocks:
            gathering.add(block)
        return gathering.excerpt()

    @property
    def stored(self) -> bytes:
        """As it is kept in a file: the note in the place of the gap."""
        return self.head + self.gap.note + self.tail

    @property
    def size_bytes(self) -> int:
        """Of the whole log, the gap included."""
        return len(self.head) + self.gap.num_bytes + len(self.tail)

    def read(self, offset: int, num_bytes: int) -> tuple[int, bytes]:
        """(offset, content) of the next bytes at `offset` or, where those are left out, behind the gap."""
        if offset < len(self.head):
            return offset, self.head[offset : offset + num_bytes]
        offset = max(offset, len(self.head) + self.gap.num_bytes)
        start = offset - len(self.head) - self.gap.num_bytes
        return offset, self.tail[start : start + num_bytes]

    def last_lines(self, count: int, *, max_bytes: int = 8192) -> list[str]:
        end = (self.head + self.tail if not self.gap.num_bytes else self.tail)[-max_bytes:]
        return end.decode("utf-8", "replace").splitlines()[-count:]

    def __str__(self) -> str:
        return self.stored.decode("utf-8", "replace")


class Gathering:
    """Takes a log piece by piece, and keeps an excerpt."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._tail = bytearray()
        self._num_behind_head = 0

    def add(self, block: bytes) -> None:
        room = HEAD_BYTES - len(self._head)
        self._head += block[:room]
        rest = block[room:] if room < len(block) else b""
        self._num_behind_head += len(rest)
        self._tail += rest
        # Not at every block, which would move all of it each time.
        if len(self._tail) > 2 * TAIL_BYTES:
            del self._tail[:-TAIL_BYTES]

    def excerpt(self) -> Excerpt:
        tail = bytes(self._tail[-TAIL_BYTES:])
        return Excerpt(bytes(self._head), tail, Gap(self._num_behind_head - len(tail)))
