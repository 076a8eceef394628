"""A store that the processes of one node share: a bounded folder in memory, which survives the death of any process.

It uses files and kernel locks, and no process owns it. When a process is killed, the kernel frees its locks at once,
and its complete entries stay.
"""

import errno
import fcntl
import json
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypedDict

import torch
from pydantic import JsonValue
from torch import Tensor

_SHARED_MEMORY = Path("/dev/shm")
_PREFIX = "fgd-teacher-"
_LOCK = "store.lock"
_OVERHEAD_BYTES = 16_384
"""An upper bound of the bytes that `torch.save` writes in addition to the tensors."""
_FAR_STEPS = 1e12
"""For batches that no current run needs: runs that start later need them, from the first batch on."""
_LOCK_TIMEOUT_S = 2.0


class Entry(TypedDict):
    """Holds the teacher's maps of a batch."""

    checksum: int
    """Of the batch's images."""
    maps: list[Tensor]
    """One per level, each (B, C, H, W)."""


def steps_until_needed(number: int, positions: Sequence[int]) -> float:
    """Return the number of steps until a run needs a batch's maps.

    Args:
        number: of the batch.
        positions: the number of the next batch of each run that has the same batches.
    """
    return min((number - position for position in positions if position <= number), default=_FAR_STEPS + number)


class TeacherStore:
    """Stores the maps of batches, and a few values and weights that the runs of a node share.

    Args:
        name: of the sweep; the same in all processes of a node.
        max_bytes: of all entries together, from all processes.
        parent: where the folder is made; the node's shared memory, unless given.
    Raises:
        OSError: the folder cannot be made, belongs to another user, is a link, or other users can write to it.
    """

    def __init__(self, name: str, max_bytes: int, parent: Path | None = None) -> None:
        parent = parent or shared_memory()
        self.folder = parent / f"{_PREFIX}{name}"
        self.max_bytes = max_bytes
        _remove_abandoned(parent, keep=self.folder)
        self._in_use = _join(self.folder)

    def close(self) -> None:
        """Release the folder; idempotent. The entries stay, for later runs."""
        if self._in_use >= 0:
            os.close(self._in_use)
            self._in_use = -1

    def has(self, group: str, number: int) -> bool:
        """Return True if the store has the maps of a batch."""
        return self._path(group, number).exists()

    def get(self, group: str, number: int) -> Entry | None:
        """Return an entry, as views of the shared memory; the views stay valid when the entry is removed."""
        entry: Entry | None = _load(self._path(group, number))
        return entry

    def put(self, group: str, number: int, content: Entry, num_bytes: int) -> bool:
        """Store an entry, and remove entries that are needed later than this one if space is short.

        Args:
            num_bytes: of its tensors.
        Returns:
            False if the other entries are needed sooner, so that this one was not stored.
        Raises:
            OSError, RuntimeError: the memory is full, or `max_bytes` is too small for this entry alone.
        """
        path = self._path(group, number)
        with self._locked(_LOCK, timeout_s=_LOCK_TIMEOUT_S) as is_ours:
            if not is_ours or not self._make_space(group, number, num_bytes + _OVERHEAD_BYTES):
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
        """Yield True if this process may do work that only one should do, until the block or the process ends."""
        with self._locked(f"{name}.claim", timeout_s=0) as is_ours:
            try:
                yield is_ours
            finally:
                if is_ours:
                    # One process may lock the removed file and another one a new file: both then do the same work.
                    (self.folder / f"{name}.claim").unlink(missing_ok=True)

    @contextmanager
    def register_run(self) -> Iterator["RunPosition"]:
        """Register this run among the runs that share, for as long as the block lasts."""
        with self._locked(_LOCK, timeout_s=_LOCK_TIMEOUT_S):
            fd, path = tempfile.mkstemp(".run", dir=self.folder)
            fcntl.flock(fd, fcntl.LOCK_EX)
        try:
            yield RunPosition(fd)
        finally:
            with suppress(OSError):
                Path(path).unlink(missing_ok=True)
            os.close(fd)

    def set_value(self, name: str, value: JsonValue) -> None:
        """Store a small value, as JSON."""
        part = self.folder / f"{name}.value-{os.getpid()}"
        part.write_text(json.dumps(value))
        part.rename(self.folder / f"{name}.json")

    def values(self, name: str) -> list[JsonValue]:
        """Return the stored value in a list; an empty list if there is none."""
        try:
            return [json.loads((self.folder / f"{name}.json").read_text())]
        except FileNotFoundError:
            return []

    def set_weights(self, name: str, weights: Mapping[str, Tensor]) -> None:
        """Store tensors of any shape (...) for as long as the folder exists; they do not count towards `max_bytes`."""
        part = self.folder / f"{name}.weights-{os.getpid()}"
        try:
            torch.save(dict(weights), part)
            part.rename(self.folder / f"{name}.weights")
        finally:
            part.unlink(missing_ok=True)

    def weights(self, name: str) -> dict[str, Tensor] | None:
        """Return stored tensors with their shapes (...), as views of the shared memory; None if there are none."""
        found: dict[str, Tensor] | None = _load(self.folder / f"{name}.weights")
        return found

    def num_bytes(self) -> int:
        """Return the size of all entries, without values and weights."""
        return sum(size for _, size in self._entries())

    def _path(self, group: str, number: int) -> Path:
        return self.folder / f"{group}.{number}.maps"

    def _make_space(self, group: str, number: int, num_bytes: int) -> bool:
        """Remove entries until `num_bytes` fit; returns False if they do not. The caller holds the lock."""
        for partial in self.folder.glob("*.part"):
            partial.unlink()
        entries = self._entries()
        used_bytes = sum(size for _, size in entries)
        # Other programs use this memory, too, and a container may have little of it.
        limit_bytes = min(self.max_bytes, used_bytes + shutil.disk_usage(self.folder).free // 2)
        if num_bytes > limit_bytes:
            raise OSError(errno.ENOSPC, f"a batch needs {num_bytes:,} bytes of shared memory, of {limit_bytes:,}")
        excess = used_bytes + num_bytes - limit_bytes
        if excess <= 0:
            return True
        positions = self._positions()
        need = steps_until_needed(number, positions.get(group, ()))
        victims = []
        for path, size in sorted(entries, key=lambda entry: -_steps_until_needed(entry[0], positions)):
            if excess <= 0 or _steps_until_needed(path, positions) <= need:
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

    def _positions(self) -> dict[str, list[int]]:
        """Return the positions of the runs that are alive, by group. The caller holds the lock."""
        positions: dict[str, list[int]] = {}
        for path in self.folder.glob("*.run"):
            with path.open("r+b") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    group, _, number = file.read().decode().partition(" ")
                    if number:
                        positions.setdefault(group, []).append(int(number))
                else:
                    path.unlink(missing_ok=True)  # the run died
        return positions

    @contextmanager
    def _locked(self, name: str, *, timeout_s: float) -> Iterator[bool]:
        fd = os.open(self.folder / name, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            yield _lock(fd, fcntl.LOCK_EX, timeout_s)
        finally:
            os.close(fd)


class RunPosition:
    """Shows the other runs which batch a run needs next; at first none."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def move(self, group: str, number: int) -> None:
        """Set the position.

        Args:
            number: of the batch that the run needs next.
        """
        # A fixed length for each group, written in one call, so that no process reads half of the text.
        text = f"{group} {number:012}".encode()
        os.ftruncate(self._fd, os.pwrite(self._fd, text, 0))

    def leave(self) -> None:
        """Show that the run needs no further batch, so that the store keeps none for it."""
        os.ftruncate(self._fd, 0)


def shared_memory() -> Path:
    """Return the node's folder in memory; a temporary folder where there is none."""
    return _SHARED_MEMORY if os.access(_SHARED_MEMORY, os.W_OK) else Path(tempfile.gettempdir())


def clear(name: str, parent: Path | None = None) -> None:
    """Remove a sweep's folder, unless a run of another process uses it."""
    with suppress(OSError):
        _remove_unused((parent or shared_memory()) / f"{_PREFIX}{name}")


def _load(path: Path) -> Any:
    try:
        return torch.load(path, mmap=True, weights_only=True)
    except FileNotFoundError:
        return None


def _steps_until_needed(path: Path, positions: dict[str, list[int]]) -> float:
    group, number, _ = path.name.split(".")
    return steps_until_needed(int(number), positions.get(group, ()))


def _join(folder: Path) -> int:
    """Make the folder and return the descriptor whose lock marks it as in use."""
    while True:
        folder.mkdir(mode=0o700, exist_ok=True)
        if not _is_ours(folder):
            raise PermissionError(f"{folder} belongs to another user, is a link, or is open to others; remove it")
        fd = os.open(folder / "in_use", os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600)
        if _lock(fd, fcntl.LOCK_SH, _LOCK_TIMEOUT_S):
            # Before the lock, another process may have removed the folder as abandoned.
            with suppress(FileNotFoundError):
                if (folder / "in_use").stat().st_ino == os.fstat(fd).st_ino:
                    return fd
        os.close(fd)


def _is_ours(folder: Path) -> bool:
    """Check that only this user can write to a folder in a public place; a link is refused, wherever it leads."""
    found = folder.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077


def _remove_abandoned(parent: Path, *, keep: Path) -> None:
    """Remove the folders of sweeps whose processes have all died: no other code frees their memory."""
    for folder in parent.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            if folder != keep and _is_ours(folder):
                _remove_unused(folder)


def _remove_unused(folder: Path) -> None:
    fd = os.open(folder / "in_use", os.O_RDWR | os.O_NOFOLLOW)
    try:
        if _lock(fd, fcntl.LOCK_EX, 0):
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(fd)


def _lock(fd: int, kind: int, timeout_s: float) -> bool:
    deadline_s = time.monotonic() + timeout_s
    while True:
        try:
            fcntl.flock(fd, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline_s:
                return False
            time.sleep(0.001)
        else:
            return True
