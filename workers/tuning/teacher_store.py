"""What the processes of one node share: a folder in memory, bounded, that survives the death of any of them.

Files and the kernel's locks, and no process that owns it all: a lock of a process that is killed is free at once, and
what it had finished stays.
"""

import errno
import fcntl
import json
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

_SHARED_MEMORY = Path("/dev/shm")
_PREFIX = "fgd-teacher-"
# What `torch.save` writes beside the tensors, with room to spare.
_OVERHEAD_BYTES = 16_384
# Runs that have not begun yet will want everything from the start on, later than those that run want anything.
_FAR_STEPS = 1e12
_LEDGER_WAIT_S = 2.0


def steps_until_needed(number: int, places: Sequence[int]) -> float:
    """How many steps it takes until a run asks for a batch's maps.

    Args:
        number: of the batch.
        places: the numbers of the batches that the runs with the same batches ask for next.
    """
    return min((number - place for place in places if place <= number), default=_FAR_STEPS + number)


class TeacherStore:
    """
    Args:
        name: of the sweep; the same on all of a node's processes.
        max_bytes: of all entries together, whoever made them.
        parent: where the folder is made; the node's shared memory, unless given.
    Raises:
        OSError: the folder cannot be made, or is another user's, a link, or open to others.
    """

    def __init__(self, name: str, max_bytes: int, parent: Path | None = None) -> None:
        parent = parent or shared_memory()
        self.folder = parent / f"{_PREFIX}{name}"
        self.max_bytes = max_bytes
        _remove_abandoned(parent, keep=self.folder)
        self._in_use = _join(self.folder)

    def close(self) -> None:
        """Idempotent. What is stored stays, for runs to come."""
        if self._in_use >= 0:
            os.close(self._in_use)
            self._in_use = -1

    def has(self, group: str, number: int) -> bool:
        return self._path(group, number).exists()

    def get(self, group: str, number: int) -> dict[str, Any] | None:
        """An entry, as views of the shared memory; they last, whatever becomes of the entry."""
        return _load(self._path(group, number))

    def put(self, group: str, number: int, content: dict[str, Any], num_bytes: int) -> bool:
        """Store an entry, in place of those that are needed later than it.

        Args:
            num_bytes: of its tensors.
        Returns:
            False where what is there is needed sooner.
        Raises:
            OSError, RuntimeError: the memory is full, or the bound too small for this entry alone.
        """
        path = self._path(group, number)
        with self._locked("ledger", wait_s=_LEDGER_WAIT_S) as is_ours:
            if not is_ours or not self._make_room(group, number, num_bytes + _OVERHEAD_BYTES):
                return False
            part = path.with_suffix(".part")
            try:
                torch.save(content, part)
                part.rename(path)
            finally:
                part.unlink(missing_ok=True)
        return True

    @contextmanager
    def claim(self, name: str) -> Iterator[bool]:
        """Whether this process may now do what only one should; the claim ends with the block, or with the process."""
        with self._locked(f"{name}.claim", wait_s=0) as is_ours:
            try:
                yield is_ours
            finally:
                if is_ours:
                    # Who waits on the removed file, and who makes it anew, may both get it: then two do the same.
                    (self.folder / f"{name}.claim").unlink(missing_ok=True)

    @contextmanager
    def seat(self) -> Iterator["Seat"]:
        """A place among the runs that share."""
        with self._locked("ledger", wait_s=_LEDGER_WAIT_S):
            fd, path = tempfile.mkstemp(".seat", dir=self.folder)
            fcntl.flock(fd, fcntl.LOCK_EX)
        try:
            yield Seat(fd)
        finally:
            with suppress(OSError):
                Path(path).unlink(missing_ok=True)
            os.close(fd)

    def note(self, name: str, value: Any) -> None:
        """Keep a small value, as JSON."""
        part = self.folder / f"{name}.note-{os.getpid()}"
        part.write_text(json.dumps(value))
        part.rename(self.folder / f"{name}.json")

    def noted(self, name: str) -> list[Any]:
        """The value in a list, which is empty where nothing was noted."""
        try:
            return [json.loads((self.folder / f"{name}.json").read_text())]
        except FileNotFoundError:
            return []

    def keep(self, name: str, content: dict[str, Any]) -> None:
        """Store tensors for as long as the folder lasts, outside of the bound."""
        part = self.folder / f"{name}.keeping-{os.getpid()}"
        try:
            torch.save(content, part)
            part.rename(self.folder / f"{name}.kept")
        finally:
            part.unlink(missing_ok=True)

    def kept(self, name: str) -> dict[str, Any] | None:
        """What was kept, as views of the shared memory."""
        return _load(self.folder / f"{name}.kept")

    def num_bytes(self) -> int:
        """Of all entries; what is kept outside of the bound does not count."""
        return sum(size for _, size in self._entries())

    def _path(self, group: str, number: int) -> Path:
        return self.folder / f"{group}.{number}.maps"

    def _make_room(self, group: str, number: int, num_bytes: int) -> bool:
        """Called with the ledger locked."""
        for torn in self.folder.glob("*.part"):
            torn.unlink()
        entries = self._entries()
        used_bytes = sum(size for _, size in entries)
        # The memory is others', too, and in a container it may be little.
        limit_bytes = min(self.max_bytes, used_bytes + shutil.disk_usage(self.folder).free // 2)
        if num_bytes > limit_bytes:
            raise OSError(errno.ENOSPC, f"a batch takes {num_bytes:,} bytes of shared memory, of {limit_bytes:,}")
        excess = used_bytes + num_bytes - limit_bytes
        if excess <= 0:
            return True
        places = self._places()
        need = steps_until_needed(number, places.get(group, ()))
        victims = []
        for path, size in sorted(entries, key=lambda entry: -_need(entry[0], places)):
            if excess <= 0 or _need(path, places) <= need:
                break
            victims.append(path)
            excess -= size
        if excess > 0:
            return False
        for path in victims:
            path.unlink(missing_ok=True)
        return True

    def _entries(self) -> list[tuple[Path, int]]:
        found = []
        with os.scandir(self.folder) as files:
            for file in files:
                with suppress(FileNotFoundError):
                    if file.name.endswith(".maps"):
                        found.append((Path(file.path), file.stat().st_size))
        return found

    def _places(self) -> dict[str, list[int]]:
        """Where the living runs are, by group; called with the ledger locked."""
        places: dict[str, list[int]] = {}
        for path in self.folder.glob("*.seat"):
            with path.open("r+b") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    group, _, number = file.read().decode().partition(" ")
                    if number:
                        places.setdefault(group, []).append(int(number))
                else:
                    path.unlink(missing_ok=True)  # its run died
        return places

    @contextmanager
    def _locked(self, name: str, *, wait_s: float) -> Iterator[bool]:
        fd = os.open(self.folder / name, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            yield _lock(fd, fcntl.LOCK_EX, wait_s)
        finally:
            os.close(fd)


class Seat:
    """Tells the others where a run is."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def move(self, group: str, number: int) -> None:
        """
        Args:
            number: of the batch that the run asks for next.
        """
        # Of one length as long as the group is, and written at once, so that nobody reads half of it.
        text = f"{group} {number:012}".encode()
        os.ftruncate(self._fd, os.pwrite(self._fd, text, 0))


def shared_memory() -> Path:
    return _SHARED_MEMORY if os.access(_SHARED_MEMORY, os.W_OK) else Path(tempfile.gettempdir())


def clear(name: str, parent: Path | None = None) -> None:
    """Remove a sweep's folder, used or not."""
    shutil.rmtree((parent or shared_memory()) / f"{_PREFIX}{name}", ignore_errors=True)


def _load(path: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = torch.load(path, mmap=True, weights_only=True)
    except FileNotFoundError:
        return None
    return found


def _need(path: Path, places: dict[str, list[int]]) -> float:
    group, number, _ = path.name.split(".")
    return steps_until_needed(int(number), places.get(group, ()))


def _join(folder: Path) -> int:
    """The descriptor that holds the folder in use."""
    while True:
        folder.mkdir(mode=0o700, exist_ok=True)
        if not _is_ours(folder):
            raise PermissionError(f"{folder} belongs to another user, or is a link or open to others; remove it")
        fd = os.open(folder / "in_use", os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600)
        if _lock(fd, fcntl.LOCK_SH, _LEDGER_WAIT_S):
            # Between the two, somebody may have taken it for abandoned and removed it.
            with suppress(FileNotFoundError):
                if (folder / "in_use").stat().st_ino == os.fstat(fd).st_ino:
                    return fd
        os.close(fd)


def _is_ours(folder: Path) -> bool:
    """Whether a folder in a place that everybody may write is this user's alone; a link is not, wherever it leads."""
    found = folder.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077


def _remove_abandoned(parent: Path, *, keep: Path) -> None:
    """Folders of sweeps whose processes have all died: nobody else would free their memory."""
    for folder in parent.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            if folder == keep or not _is_ours(folder):
                continue
            fd = os.open(folder / "in_use", os.O_RDWR | os.O_NOFOLLOW)
            try:
                if _lock(fd, fcntl.LOCK_EX, 0):
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(fd)


def _lock(fd: int, kind: int, wait_s: float) -> bool:
    deadline_s = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(fd, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline_s:
                return False
            time.sleep(0.001)
        else:
            return True
