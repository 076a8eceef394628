"""Defines what a storage can do. Paths are relative to it, with slashes: `jobs/<id>/attempts/1/checkpoints/best.pt`."""

import hashlib
import secrets
from abc import abstractmethod
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol, Self

from service.jobs.retention import StoredFile

BLOCK_BYTES = 1 << 20


class OpenedFile(NamedTuple):
    """An opened file. Its content and size do not change when a newer file replaces it."""

    file: BinaryIO
    """Seekable."""
    size_bytes: int
    modified_at: datetime


def digest_of(file: BinaryIO) -> str:
    """Return the SHA-256, in hex, of the rest of the file."""
    digest = hashlib.sha256()
    while block := file.read(BLOCK_BYTES):
        digest.update(block)
    return digest.hexdigest()


class Upload(Protocol):
    """Writes a file that becomes visible at `commit`. A `with` block that ends without a commit leaves no file."""

    @abstractmethod
    def write(self, block: bytes) -> None:
        """Append a block."""

    @abstractmethod
    def commit(self) -> None:
        """Make the file visible; it replaces an existing one."""

    @abstractmethod
    def discard(self) -> None:
        """Delete what was written. Does nothing after a commit or a discard, and never raises."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()


class Storage(Protocol):
    """Stores the files of jobs.

    Every method may raise StorageError, whose message names the problem and its cure. A method that needs an existing
    file raises FileGoneError if there is none.
    """

    folder: Path | None
    """The folder on this machine's disk, which runs may share; None for a bucket."""

    @property
    def uri(self) -> str:
        """The URI of the storage, without a slash at its end."""

    def check(self) -> None:
        """Write and delete a test file."""
        path = f".check-{secrets.token_hex(4)}"
        self.ping()
        self.write(path, b"fgd")
        self.delete(path)

    def ping(self) -> None:
        """Check that the storage answers; cheaper than `check`."""

    def uri_of(self, path: str) -> str:
        """Return the URI of a path."""

    def path_of(self, uri: str) -> str | None:
        """Return the path of a URI; None if the URI is outside this storage."""

    def find(self, path: str) -> StoredFile | None:
        """Return a file's size and time of modification; None if it does not exist."""

    def listing(self, folder: str = "") -> list[StoredFile]:
        """Return every file below a folder, with its path inside that folder; empty if the folder does not exist."""

    def folder_names(self, folder: str) -> list[str]:
        """Return the sorted names of the folders directly inside a folder."""

    def open(self, path: str) -> OpenedFile:
        """Open a file for reading; the caller closes it."""

    def read(self, path: str) -> bytes:
        """Return the content of a file."""
        with self.open(path).file as file:
            return file.read()

    def sha256(self, path: str) -> str:
        """Return the SHA-256, in hex, of the file's current content; may read the whole file."""

    def write(self, path: str, content: bytes) -> None:
        """Write a whole file atomically; it replaces an existing one."""

    def writing(self, path: str, *, size_bytes: int, sha256: str | None = None) -> Upload:
        """Write a file atomically, block by block; it replaces an existing one.

        Args:
            size_bytes: the approximate size of the file.
            sha256: the digest of the file, in hex; the caller verifies it before the commit.
        """

    def delete(self, path: str, *, modified_at: datetime | None = None) -> None:
        """Delete a file. No error if it does not exist.

        Args:
            modified_at: delete the file only if it was last modified at this time.
        """

    def delete_folder(self, folder: str) -> None:
        """Delete a folder with its content. No error if it does not exist."""

    def abort_uploads(self, *, before: datetime, dry_run: bool = False) -> int:
        """Abort the unfinished uploads that started before a time and that `listing` does not show.

        Args:
            dry_run: only count them.
        Returns:
            Their number.
        """

    def local_path(self, path: str) -> Path | None:
        """Return the path on this machine's disk; None if the file is not on it."""

    def local_copy(
        self, path: str, *, near: Path | None = None, max_bytes: int | None = None
    ) -> AbstractContextManager[Path]:
        """Provide a file on this machine's disk for the duration of the block: the file itself or a temporary copy.

        Args:
            near: the folder of the copy.
            max_bytes: a larger file counts as missing.
        """
