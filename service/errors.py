"""Errors that only the HTTP edge knows; the rest of the tree is `fgd_core.errors`."""

import errno
import sqlite3

from sqlalchemy.exc import DBAPIError

from fgd_core.errors import FgdError, SpecError, StorageError


class UnauthorizedError(FgdError):
    code = "unauthorized"
    http_status = 401


class ForbiddenError(FgdError):
    """Known, but not allowed; the message names the role or the project that it takes."""

    code = "forbidden"
    http_status = 403


class ChangedMeanwhileError(FgdError):
    """`If-Match` names another version than the present one."""

    code = "changed_meanwhile"
    http_status = 412


class IdempotencyKeyReusedError(SpecError):
    code = "idempotency_key_reused"


class BusyError(FgdError):
    code = "busy"
    retryable = True
    http_status = 503


def from_database(error: DBAPIError) -> FgdError | None:
    """What a database error means to a client; None where it is our own mistake."""
    message = str(error.orig)
    if "disk is full" in message or "disk I/O error" in message or "No space left" in message:
        return StorageError("the disk that holds the database is full; free some space and try again")
    if isinstance(error.orig, sqlite3.OperationalError) and "locked" in message:
        return BusyError("the database is busy; try again in a moment")
    return None


def from_os(error: OSError) -> FgdError | None:
    """What an operating system error means to a client; None where it is our own mistake."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageError("the disk that holds the storage folder is full; free some space and try again")
    return None
