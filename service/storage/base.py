"""What a storage can do. Paths are relative to it, with slashes: `jobs/<id>/attempts/1/checkpoints/best.pt`."""

import hashlib
from abc import abstractmethod
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple, Protocol, Self

from service.jobs.retention import StoredFile

BLOCK_BYTES = 1 << 20


class OpenedFile(NamedTuple):
    """A file as it was when it was opened, whatever takes its place meanwhile."""

    file: BinaryIO
    """Can be sought in."""
    size_bytes: int
    modified_at: datetime


def digest_of(file: BinaryIO) -> str:
    """SHA-256 in hex of all that is to be read."""
    digest = hashlib.sha256()
    while block := file.read(BLOCK_BYTES):
        digest.update(block)
    return digest.hexdigest()


class Upload(Protocol):
    """A file on its way in, which nobody sees before `commit`; a `with` block that ends without it leaves nothing."""

    @abstractmethod
    def write(self, block: bytes) -> None: ...

    @abstractmethod
    def commit(self) -> None: ...

    @abstractmethod
    def discard(self) -> None:
        """Nothing where it is committed or discarded already; never raises."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.discard()


class Storage(Protocol):
    """All methods may raise StorageError, with what is wrong and its cure; those that need a file, FileGoneError."""

    folder: Path | None
    """On this machine's disk, where it is one: what runs may share with it."""

    @property
    def uri(self) -> str: ...

    def check(self) -> None:
        """Write something, and take it away again."""

    def ping(self) -> None:
        """A cheaper look, whether it answers at all."""

    def uri_of(self, path: str) -> str: ...

    def path_of(self, uri: str) -> str | None:
        """The inverse; None where it lies elsewhere, or leads out again."""

    def find(self, path: str) -> StoredFile | None: ...

    def listing(self, folder: str = "") -> list[StoredFile]:
        """Every file below a folder, by its path within it; none where there is no such folder."""

    def folder_names(self, folder: str) -> list[str]:
        """Of the folders right in it, sorted."""

    def open(self, path: str) -> OpenedFile: ...

    def read(self, path: str) -> bytes: ...

    def sha256(self, path: str) -> str:
        """Of what is there now; may read all of it."""

    def write(self, path: str, content: bytes) -> None:
        """All of it or nothing, in place of what was there."""

    def writing(self, path: str, *, size_bytes: int, sha256: str | None = None) -> Upload:
        """The same, piece by piece.

        Args:
            size_bytes: how much will come, about.
            sha256: of what will come, in hex; whoever commits has checked it.
        """

    def delete(self, path: str, *, modified_at: datetime | None = None) -> None:
        """None is fine, too. With `modified_at`, only where it is still the file of that time."""

    def delete_folder(self, folder: str) -> None:
        """With all that is in it; none is fine, too."""

    def abort_uploads(self, *, before: datetime, dry_run: bool = False) -> int:
        """How many files began to come in before that time and never ended; those that a list does not show."""

    def local_path(self, path: str) -> Path | None:
        """Of a file that this machine's disk has already; None where it has not."""

    def local_copy(
        self, path: str, *, near: Path | None = None, max_bytes: int | None = None
    ) -> AbstractContextManager[Path]:
        """A file on this machine's disk while the block lasts: the very file, or a copy in the folder `near`. One of
        more than `max_bytes` counts as gone."""
