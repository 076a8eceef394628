"""Writes files atomically: a file is complete, or it does not exist."""

import errno
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, NamedTuple

from fgd_core.errors import StorageError
from fgd_core.spec.events import ArtifactSaved


class Written(NamedTuple):
    """A file that was written, with its digest."""

    path: Path
    sha256: str
    size_bytes: int

    def artifact(self, media_type: str) -> ArtifactSaved:
        """Describe the file as an artifact of the run."""
        name, uri = self.path.name, self.path.resolve().as_uri()
        return ArtifactSaved(name=name, uri=uri, media_type=media_type, sha256=self.sha256, size_bytes=self.size_bytes)


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> Written:
    """Write a file that appears at `path` only when it is complete and on the disk.

    Raises:
        StorageError: the disk is full, or the folder cannot be written to; no partial file remains.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("w+b") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            size_bytes = file.seek(0, os.SEEK_END)
        partial.replace(path)
    except OSError as error:
        raise _storage_error(path, error) from error
    except RuntimeError as error:
        # torch.save reports a failed write as a RuntimeError of its zip writer, without the cause.
        if "PytorchStreamWriter" in str(error) or "unexpected pos" in str(error):
            raise StorageError(
                "the file was only partly written, most likely because the disk is full; free some space and retry",
                path=str(path),
            ) from error
        raise
    finally:
        partial.unlink(missing_ok=True)
    return Written(path, digest, size_bytes)


def _storage_error(path: Path, error: OSError) -> StorageError:
    cure = {
        errno.ENOSPC: "the disk is full; free some space and retry",
        errno.EDQUOT: "the disk quota is used up; free some space and retry",
        errno.EACCES: "this user may not write to the folder; change its permissions or choose another folder",
        errno.EROFS: "the file system is read-only; choose another folder",
    }.get(error.errno or 0, f"the file could not be written: {error.strerror}")
    return StorageError(cure, path=str(path))
