"""Defines the errors of a storage.

StorageError               the disk is full, or an operation failed            507
├── StorageAwayError       the storage does not answer                         503, retryable
├── StorageRefusedError    the bucket does not exist, or access was denied     503
└── FileChangedError       a file was replaced while it was read               503, retryable
NotFoundError
└── FileGoneError          the file does not exist                             404
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from fgd_core.errors import NotFoundError, StorageError


class StorageAwayError(StorageError):
    """The storage does not answer."""

    code = "storage_away"
    retryable = True
    http_status = 503


class StorageRefusedError(StorageError):
    """The bucket does not exist, or the storage denied access."""

    code = "storage_refused"
    http_status = 503


class FileChangedError(StorageError):
    """Another file replaced this one while it was read."""

    code = "file_changed"
    retryable = True
    http_status = 503


class FileGoneError(NotFoundError):
    """The file does not exist, or does not exist any more."""


def gone(uri: str) -> FileGoneError:
    """Return the error for a file that does not exist."""
    return FileGoneError(f"no file {uri}; it may have been deleted", uri=uri)


@contextmanager
def translating(what: str, uri: str) -> Iterator[None]:
    """Raise errors of the disk as storage errors; arguments as of `from_os_error`."""
    try:
        yield
    except OSError as cause:
        raise from_os_error(what, uri, cause) from cause


def from_os_error(what: str, uri: str, cause: OSError) -> StorageError:
    """Return the storage error for an error of the disk.

    Args:
        what: the verb of the message: `write`, `read`, `delete` or `create`.
        uri: of the file or folder.
    """
    if cause.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageError("the disk of the storage folder is full; free some space and try again", uri=uri)
    if cause.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return StorageRefusedError(
            f"cannot {what} {uri}: {cause.strerror}; make the server's user the owner of its folder", uri=uri
        )
    return StorageError(f"cannot {what} {uri}: {cause.strerror or cause}; check its disk", uri=uri)
