"""A file of lines: a writer appends at its end, a reader consumes from its beginning, and both survive a crash."""

import errno
import os
from pathlib import Path

_DIGITS = 20


class Spool:
    """Counts lines from 1; lines up to `consumed` are done. Not safe for several threads.

    Lines survive the death of the process, because the kernel has them. A machine that loses power may lose the last
    ones.

    Raises:
        OSError: from any method, when the file cannot be written or read. `append` has then changed nothing.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        self._consumed_file = os.open(path.with_suffix(".consumed"), os.O_RDWR | os.O_CREAT, 0o600)
        content = path.read_bytes()
        # The process died while it wrote a line without an end.
        self._size_bytes = content.rfind(b"\n") + 1
        os.ftruncate(self._file, self._size_bytes)
        self.num_lines = content.count(b"\n")
        self.consumed = 0
        self._read_from = 0
        self._skip(min(self.num_lines, int(os.pread(self._consumed_file, _DIGITS, 0) or 0)))

    def append(self, line: str) -> None:
        data = line.encode() + b"\n"
        written = os.write(self._file, data)
        if written < len(data):
            # A full disk takes the part that fits. Half a line would corrupt the next one.
            os.ftruncate(self._file, self._size_bytes)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._size_bytes += written
        self.num_lines += 1

    def head(self, limit: int, max_bytes: int) -> list[str]:
        """Return the first unconsumed lines: at most `limit` lines and `max_bytes`, but at least one line."""
        limit = min(limit, self.num_lines - self.consumed)
        lines: list[str] = []
        num_bytes = 0
        with os.fdopen(os.dup(self._file), "rb") as file:
            file.seek(self._read_from)
            while len(lines) < limit:
                line = file.readline()
                num_bytes += len(line)
                if lines and num_bytes > max_bytes:
                    break
                lines.append(line.decode().removesuffix("\n"))
        return lines

    def consume(self, up_to: int) -> None:
        """Mark lines up to this one as done. Never raises: after a crash, lines may be consumed twice without harm."""
        self._skip(min(up_to, self.num_lines))
        try:
            os.pwrite(self._consumed_file, f"{self.consumed:0{_DIGITS}}".encode(), 0)
        except OSError:
            return

    def _skip(self, up_to: int) -> None:
        while self.consumed < up_to:
            chunk = os.pread(self._file, 1 << 16, self._read_from)
            for line in chunk.splitlines(keepends=True):
                self._read_from += len(line)
                self.consumed += line.endswith(b"\n")
                if self.consumed == up_to:
                    break
