"""What goes wrong with a storage, and the cure.

StorageError               the disk is full, or does not do what it is told    507
├── StorageAwayError       it does not answer                                  503, retryable
├── StorageRefusedError    there is no such bucket, or it does not let us in   503
└── FileChangedError       a file was replaced while it was read               503, retryable
NotFoundError
└── FileGoneError          there is no such file                               404
"""

import errno

from fgd_core.errors import NotFoundError, StorageError


class StorageAwayError(StorageError):
    code = "storage_away"
    retryable = True
    http_status = 503


class StorageRefusedError(StorageError):
    code = "storage_refused"
    http_status = 503


class FileChangedError(StorageError):
    code = "file_changed"
    retryable = True
    http_status = 503


class FileGoneError(NotFoundError):
    """The file of something that is known is not there any more."""


def gone(uri: str) -> FileGoneError:
    return FileGoneError(f"there is no file {uri}", uri=uri)


def from_os_error(what: str, uri: str, cause: OSError) -> StorageError:
    """
    Args:
        what: `write`, `read`, `delete`, as it stands in "cannot write".
    """
    if cause.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageError("the disk that holds the storage folder is full; free some space and try again", uri=uri)
    if cause.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return StorageRefusedError(
            f"cannot {what} {uri}: {cause.strerror}; see that its folder belongs to the server's user", uri=uri
        )
    return StorageError(f"cannot {what} {uri}: {cause.strerror or cause}; look at the disk it is on", uri=uri)
