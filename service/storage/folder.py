"""Stores files in a folder of a disk. Runs may write into that folder, so its links are not trusted."""

import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote

from service.jobs.retention import StoredFile
from service.storage import errors, paths
from service.storage.base import OpenedFile, Storage, Upload, digest_of


class FolderStorage(Storage):
    """Stores files in one folder.

    It follows no symbolic links inside the folder: a run could create one that points outside. The path of the folder
    itself may contain links. Hard links are treated as ordinary files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder: Path | None = folder
        self._root = folder

    @property
    def uri(self) -> str:
        return self._root.resolve().as_uri()

    def check(self) -> None:
        with errors.translating("create", str(self._root)):
            self._root.mkdir(parents=True, exist_ok=True)
        super().check()

    def ping(self) -> None:
        with errors.translating("read", str(self._root)):
            os.scandir(self._root).close()

    def uri_of(self, path: str) -> str:
        return (self._root / path).as_uri()

    def path_of(self, uri: str) -> str | None:
        named = unquote(uri.removeprefix("file://")) if uri.startswith("file://") else uri
        for root in (self._root, self._root.resolve()):
            if named.startswith(f"{root}/"):
                path = named.removeprefix(f"{root}/")
                return path if paths.is_plain(path) else None
        return None

    def find(self, path: str) -> StoredFile | None:
        place = self.local_path(path)
        try:
            status = place.lstat() if place is not None else None
        except OSError:
            return None
        return StoredFile(path, status.st_size, _modified_at(status)) if status is not None else None

    def listing(self, folder: str = "") -> list[StoredFile]:
        top = f"{self._root}/{folder}".rstrip("/")
        found = []
        for path, status in _files(top):
            # Attempts share a checkpoint through hard links: each link counts for its share of the bytes.
            size_bytes = status.st_size // max(1, status.st_nlink)
            found.append(StoredFile(path[len(top) + 1 :], size_bytes, _modified_at(status)))
        return found

    def folder_names(self, folder: str) -> list[str]:
        try:
            with os.scandir(self._root / folder) as entries:
                return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
        except FileNotFoundError:
            return []

    def open(self, path: str) -> OpenedFile:
        place = self._file(path)
        if place is None:
            raise errors.gone(self.uri_of(path))
        try:
            file = open(place, "rb")  # noqa: PTH123, SIM115  Housekeeping opens a file of each job.
        except FileNotFoundError as cause:
            raise errors.gone(self.uri_of(path)) from cause
        except OSError as cause:
            raise errors.from_os_error("read", self.uri_of(path), cause) from cause
        status = os.fstat(file.fileno())
        return OpenedFile(file, status.st_size, _modified_at(status))

    def sha256(self, path: str) -> str:
        with self.open(path).file as file:
            return _stored_digest(file.fileno()) or digest_of(file)

    def write(self, path: str, content: bytes) -> None:
        with self.writing(path, size_bytes=len(content)) as upload:
            upload.write(content)
            upload.commit()

    def writing(self, path: str, *, size_bytes: int, sha256: str | None = None) -> "FolderUpload":
        return FolderUpload(self._place(path, make=True), self.uri_of(path), sha256)

    def delete(self, path: str, *, modified_at: datetime | None = None) -> None:
        place = self._place(path)
        with errors.translating("delete", self.uri_of(path)), suppress(FileNotFoundError):
            if modified_at in (None, _modified_at(place.lstat())):
                place.unlink()

    def delete_folder(self, folder: str) -> None:
        place = self._place(folder)
        with errors.translating("delete", self.uri_of(folder)), suppress(FileNotFoundError):
            shutil.rmtree(place)

    def abort_uploads(self, *, before: datetime, dry_run: bool = False) -> int:
        return 0  # Unfinished uploads to a folder are files, which `listing` shows.

    def local_path(self, path: str) -> Path | None:
        place = self._file(path)
        return Path(place) if place is not None else None

    @contextmanager
    def local_copy(self, path: str, *, near: Path | None = None, max_bytes: int | None = None) -> Iterator[Path]:
        place = self.local_path(path)
        if place is None or (max_bytes is not None and place.stat().st_size > max_bytes):
            raise errors.gone(self.uri_of(path))
        yield place

    def _file(self, path: str) -> str | None:
        """Return the absolute path of a file that exists; None if there is none, or only through a link."""
        if not paths.is_plain(path):
            return None
        place, mode = os.fspath(self._root), 0
        # Part by part below the root, whose own path may contain links: a backup does so for each file.
        for part in path.split("/"):
            place = f"{place}/{part}"
            try:
                mode = os.lstat(place).st_mode
            except OSError:
                return None
            if stat.S_ISLNK(mode):
                return None
        return place if stat.S_ISREG(mode) else None

    def _place(self, path: str, *, make: bool = False) -> Path:
        """Return the absolute path of a file to create or to delete.

        Raises:
            FileGoneError: the path leads through a link.
        """
        place = self._root / path
        try:
            if paths.is_plain(path) and place.parent.resolve() == (self._root.resolve() / path).parent:
                if make:
                    place.parent.mkdir(parents=True, exist_ok=True)
                return place
        except (OSError, RuntimeError) as cause:
            error = cause if isinstance(cause, OSError) else OSError(str(cause))
            raise errors.from_os_error("write", self.uri_of(path), error) from cause
        raise errors.gone(self.uri_of(path))


class FolderUpload(Upload):
    """Writes to a hidden partial file, which `commit` renames."""

    def __init__(self, place: Path, uri: str, sha256: str | None) -> None:
        self._place = place
        self._uri = uri
        self._sha256 = sha256
        self._partial = place.with_name(f".{place.name}.{secrets.token_hex(4)}.partial")
        with errors.translating("write", uri):
            self._file = self._partial.open("xb")

    def write(self, block: bytes) -> None:
        with errors.translating("write", self._uri):
            self._file.write(block)

    def commit(self) -> None:
        with errors.translating("write", self._uri):
            self._file.flush()
            os.fsync(self._file.fileno())
            if self._sha256 is not None:
                _store_digest(self._file.fileno(), self._sha256)
            self._file.close()
            self._partial.replace(self._place)
            _sync_folder(self._place.parent)

    def discard(self) -> None:
        # Closing writes the buffer, which fails on a full disk.
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            self._partial.unlink()


def _modified_at(status: os.stat_result) -> datetime:
    return datetime.fromtimestamp(status.st_mtime, UTC)


def _sync_folder(folder: Path) -> None:
    """Make a new file name survive a power failure, because the sender of the file gets an acknowledgement."""
    # Some network file systems do not support this.
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


_DIGEST = "user.fgd.sha256"
"""Extended attribute of an uploaded file: its time of modification and its SHA-256 at that time. Not every file system
and operating system supports it; without it, each request for a part of the file reads the whole file."""


def _store_digest(descriptor: int, sha256: str) -> None:
    with suppress(OSError, AttributeError):
        os.setxattr(descriptor, _DIGEST, f"{os.fstat(descriptor).st_mtime_ns} {sha256}".encode())


def _stored_digest(descriptor: int) -> str | None:
    """Return the SHA-256 of the attribute; None if it is missing or the file was modified since."""
    try:
        changed_ns, sha256 = os.getxattr(descriptor, _DIGEST).decode().split()
        is_valid = int(changed_ns) == os.fstat(descriptor).st_mtime_ns and len(bytes.fromhex(sha256)) == 32
    except (OSError, AttributeError, ValueError):
        return None
    return sha256 if is_valid else None


def _files(top: str) -> list[tuple[str, os.stat_result]]:
    """Return each file below a folder. Paths are texts, and each folder is read once: housekeeping reads a million.

    Raises:
        StorageError: a folder exists and cannot be read. An empty listing would make a run start from the beginning.
    """
    found, folders = [], [top]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder) as entries:
                here = list(entries)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            continue
        except OSError as cause:
            raise errors.from_os_error("read", folder, cause) from cause
        for entry in here:
            if not entry.is_dir():
                with suppress(FileNotFoundError):
                    found.append((entry.path, entry.stat(follow_symlinks=False)))
            elif not entry.is_symlink():
                folders.append(entry.path)
    return found
