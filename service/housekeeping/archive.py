"""Reads and writes the backup file: a tar of parts that ends with a manifest of their digests.

A truncated file has no manifest, so it cannot be mistaken for a complete backup.
"""

import hashlib
import io
import os
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import IO, Literal

from pydantic import ValidationError

from fgd_core.errors import FgdError, StorageError
from fgd_core.spec.base import Command

MANIFEST = "manifest.json"
_BLOCK_BYTES = 1 << 20


class BackupError(FgdError):
    """The file is not a backup, or it is damaged."""

    code = "backup"
    http_status = 422


class Part(Command):
    """Describes one file in the archive."""

    name: str
    sha256: str
    size_bytes: int
    num_rows: int | None = None
    """Number of rows, if the part is a table."""
    columns: list[str] = []
    """Names of the columns in the order of each row's values, if the part is a table."""


class Manifest(Command):
    """Describes a complete backup; it is the last file in the archive."""

    form: Literal[1] = 1
    fgd_version: str
    created_at: datetime
    schema_revision: str
    storage_uri: str
    """Where the files were stored; the URIs in the rows begin with it."""
    has_artifacts: bool
    parts: list[Part]

    def part(self, name: str) -> Part | None:
        return next((part for part in self.parts if part.name == name), None)


class Writer:
    """Adds parts to an archive and records the digest of each.

    Args:
        on_bytes: called with the number of bytes of each block that is added.
    """

    def __init__(self, archive: tarfile.TarFile, on_bytes: Callable[[int], None]) -> None:
        self._archive = archive
        self._on_bytes = on_bytes
        self.parts: list[Part] = []

    def add(
        self,
        name: str,
        content: IO[bytes],
        size_bytes: int,
        *,
        num_rows: int | None = None,
        columns: Sequence[str] = (),
    ) -> None:
        """Add the first `size_bytes` of `content`; the file may have grown since the caller measured it.

        Raises:
            OSError: the file is now shorter than `size_bytes`.
        """
        reading = _Digesting(content, size_bytes, self._on_bytes)
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode, entry.mtime = size_bytes, 0o600, int(time.time())
        self._archive.addfile(entry, reading)
        self.parts.append(
            Part(
                name=name,
                sha256=reading.digest.hexdigest(),
                size_bytes=size_bytes,
                num_rows=num_rows,
                columns=list(columns),
            )
        )

    def finish(self, manifest: Manifest) -> None:
        """Add the manifest, which completes the archive."""
        content = manifest.model_dump_json(indent=1).encode()
        self.add(MANIFEST, io.BytesIO(content), len(content))


@contextmanager
def writing(path: Path, on_bytes: Callable[[int], None] = lambda _: None) -> Iterator[Writer]:
    """Write an archive that appears at `path` when the block succeeds. Only its owner may read it.

    Raises:
        StorageError: the archive cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
                yield Writer(archive, on_bytes)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as cause:
        message = f"cannot write {path}: {cause.strerror or cause}; choose another location or free some space"
        raise StorageError(message, path=str(path)) from cause
    finally:
        with suppress(FileNotFoundError):
            partial.unlink()


def verify(path: Path, on_bytes: Callable[[int], None] = lambda _: None) -> Manifest:
    """Read the whole archive and compare every digest with the manifest.

    Raises:
        BackupError: the file is not a backup, is truncated, or is damaged.
        StorageError: the file cannot be read.
    """
    try:
        manifest, found = _read(path, on_bytes)
    except tarfile.TarError as cause:
        raise _damaged(path, str(cause)) from cause
    except OSError as cause:
        raise StorageError(
            f"cannot read {path}: {cause.strerror or cause}; name a file that `fgd backup` wrote", path=str(path)
        ) from cause
    expected = {part.name: (part.sha256, part.size_bytes) for part in manifest.parts}
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise _damaged(path, f"the content of {name} does not match the manifest")
    return manifest


def entries(path: Path) -> Iterator[tuple[tarfile.TarInfo, IO[bytes]]]:
    """Yield each file of the archive in order. Its content can be read until the next file is requested.

    Raises:
        BackupError: the archive contains an entry that does not belong in a backup.
    """
    with tarfile.open(path, "r:") as archive:
        for entry in archive:
            content = archive.extractfile(entry) if entry.isreg() else None
            if content is None or not _is_plain(entry.name):
                raise _damaged(path, f"the entry {entry.name!r} does not belong in a backup")
            yield entry, content


def _read(path: Path, on_bytes: Callable[[int], None]) -> tuple[Manifest, dict[str, tuple[str, int]]]:
    """Return the manifest and, for each part found, its digest and size in bytes."""
    found: dict[str, tuple[str, int]] = {}
    manifest: Manifest | None = None
    for entry, content in entries(path):
        if manifest is not None or entry.name in found:
            raise _damaged(path, f"the entry {entry.name} is repeated or follows the manifest")
        if entry.name == MANIFEST:
            manifest = _manifest(path, content.read())
            continue
        reading = _Digesting(content, entry.size, on_bytes)
        while reading.read(_BLOCK_BYTES):
            pass
        found[entry.name] = reading.digest.hexdigest(), entry.size
    if manifest is None:
        raise _damaged(path, "the end of the file is missing")
    return manifest, found


class _Digesting(io.RawIOBase):
    """Reads at most `size_bytes` bytes and computes their digest."""

    def __init__(self, content: IO[bytes], size_bytes: int, on_bytes: Callable[[int], None]) -> None:
        self.digest = hashlib.sha256()
        self._content = content
        self._left_bytes = size_bytes
        self._on_bytes = on_bytes

    def read(self, size: int = -1) -> bytes:
        wanted = self._left_bytes if size < 0 else min(size, self._left_bytes)
        block = self._content.read(wanted)
        self._left_bytes -= len(block)
        self.digest.update(block)
        self._on_bytes(len(block))
        return block


def _manifest(path: Path, content: bytes) -> Manifest:
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as cause:
        raise BackupError(
            f"this version of fgd cannot read the manifest of {path}; restore it with the version that created it",
            path=str(path),
        ) from cause


def _is_plain(name: str) -> bool:
    """Return whether a name stays inside the folder that the archive is unpacked into."""
    parts = PurePosixPath(name).parts
    return bool(parts) and not name.startswith("/") and ".." not in parts and "\x00" not in name


def _damaged(path: Path, why: str) -> BackupError:
    return BackupError(
        f"{path} is not a complete backup: {why}; nothing was restored. Use another copy of the backup", path=str(path)
    )
