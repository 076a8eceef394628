"""Errors of the service; the other errors are in `fgd_core.errors`.

FgdError
├── UnauthorizedError       no valid token
├── ForbiddenError          the token's role or project does not allow it
├── TooLargeError           a body above its limit
├── BodyMissingError        the client stopped sending         (retryable)
├── LengthMissingError      no Content-Length
├── ChangedMeanwhileError   If-Match names an old version
├── ConflictError
│   └── AlreadyClaimedError
├── SpecError
│   └── IdempotencyKeyReusedError
├── DatabaseError           the database cannot answer now     (retryable)
│   ├── BusyError
│   ├── DatabaseAwayError
│   └── DatabaseRefusedError                                   (not retryable)
└── SchemaTooNewError
"""

import errno
import sqlite3

from fgd_core.errors import ConflictError, FgdError, SpecError, StorageError


class UnauthorizedError(FgdError):
    """The request has no valid token."""

    code = "unauthorized"
    http_status = 401


class ForbiddenError(FgdError):
    """The token is valid, but not sufficient; the message names the role or project that is needed."""

    code = "forbidden"
    http_status = 403


class TooLargeError(FgdError):
    """The request body exceeds its limit."""

    code = "too_large"
    http_status = 413


class BodyMissingError(FgdError):
    """The client stopped sending before the body was complete."""

    code = "body_missing"
    retryable = True
    http_status = 408


class LengthMissingError(FgdError):
    """The request has no Content-Length."""

    code = "length_missing"
    http_status = 411


class ChangedMeanwhileError(FgdError):
    """`If-Match` names a version that is not the current one."""

    code = "changed_meanwhile"
    http_status = 412


class AlreadyClaimedError(ConflictError):
    """Another process has already claimed the attempt's token with its claim code."""

    code = "already_claimed"


class IdempotencyKeyReusedError(SpecError):
    """The same Idempotency-Key was sent with a different body."""

    code = "idempotency_key_reused"


class DatabaseError(FgdError):
    """The database cannot execute a valid request at this moment."""

    code = "database"
    retryable = True
    http_status = 503


class BusyError(DatabaseError):
    """The database is locked or overloaded."""

    code = "busy"


class DatabaseAwayError(DatabaseError):
    """Unreachable, or the connection was lost in a transaction, which was stored completely or not at all."""

    code = "database_away"


class DatabaseRefusedError(DatabaseError):
    """Reachable, but authentication failed."""

    code = "database_refused"
    retryable = False


class SchemaTooNewError(FgdError):
    """A newer version has migrated the database."""

    code = "schema_too_new"


def from_database(error: BaseException, *, is_disconnected: bool = False) -> FgdError | None:
    """Translate an error of SQLAlchemy or of a driver into one of ours; None if it is a defect of ours.

    Args:
        is_disconnected: True if the error occurred while connecting, or the connection was lost.
    """
    # SQLAlchemy's errors hold the driver's. They are not imported here: the process of a comparison needs these errors,
    # and no database.
    cause: BaseException = getattr(error, "orig", None) or error
    message, state = str(cause), str(getattr(cause, "sqlstate", None) or "")
    if any(sign in message for sign in _FULL_DISK) or state == "53100":
        return StorageError("the disk that holds the database is full; free some space and try again")
    if "unable to open database file" in message:
        return StorageError("the database file cannot be opened; check that its folder exists and is writable")
    if state in _BUSY or (isinstance(cause, sqlite3.OperationalError) and "locked" in message):
        return BusyError("the database is busy; try again in a moment", **_shown(state))
    if state in _REFUSED or state[:2] == "28":
        return DatabaseRefusedError(f"the database refuses the login: {message}; correct FGD_DATABASE_URL")
    if state in _AWAY or state[:2] == "08" or is_disconnected or isinstance(cause, (TimeoutError, ConnectionError)):
        return DatabaseAwayError(f"the database cannot be reached: {message or type(cause).__name__}", **_shown(state))
    if state in _UNSTORABLE or isinstance(cause, (OverflowError, UnicodeEncodeError)):
        return SpecError("the request holds a value that cannot be stored: a NUL character, or a number above 64 bits")
    return None


def _shown(state: str) -> dict[str, str]:
    return {"sqlstate": state} if state else {}


_FULL_DISK = ("disk is full", "disk I/O error", "No space left")
# Serialization failure, deadlock; lock and statement timeouts; too many connections, out of memory; a statement from
# before a migration, which succeeds at the second try.
_BUSY = {"40001", "40P01", "55P03", "57014", "53300", "53200", "0A000"}
# The server stops, has crashed, starts, or has ended an idle session.
_AWAY = {"57P01", "57P02", "57P03", "57P05", "25P03"}
_REFUSED = {"3D000", "42501"}
_UNSTORABLE = {"22003", "22021", "22P05", "22P02"}


def from_os(error: OSError) -> FgdError | None:
    """Translate an error of the operating system into one of ours; None if it is a defect of ours."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageError("the disk that holds the storage folder is full; free some space and try again")
    return None
