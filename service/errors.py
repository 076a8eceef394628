"""Errors that only the HTTP edge knows; the rest of the tree is `fgd_core.errors`."""

import errno
import sqlite3

from sqlalchemy.exc import DBAPIError

from fgd_core.errors import ConflictError, FgdError, SpecError, StorageError


class UnauthorizedError(FgdError):
    code = "unauthorized"
    http_status = 401


class ForbiddenError(FgdError):
    """Known, but not allowed; the message names the role or the project that it takes."""

    code = "forbidden"
    http_status = 403


class TooLargeError(FgdError):
    code = "too_large"
    http_status = 413


class BodyMissingError(FgdError):
    """The client stopped sending half-way."""

    code = "body_missing"
    retryable = True
    http_status = 408


class LengthMissingError(FgdError):
    code = "length_missing"
    http_status = 411


class ChangedMeanwhileError(FgdError):
    """`If-Match` names another version than the present one."""

    code = "changed_meanwhile"
    http_status = 412


class NotComparableError(ConflictError):
    """Runs that were not scored on the same images, or left nothing to compare. `reasons`: all at once."""

    code = "not_comparable"


class AlreadyClaimedError(ConflictError):
    """Somebody else came for an attempt's token before, with its claim code."""

    code = "already_claimed"


class IdempotencyKeyReusedError(SpecError):
    code = "idempotency_key_reused"


class DatabaseError(FgdError):
    """Nothing is wrong with what was asked of the database; it cannot do it now."""

    code = "database"
    retryable = True
    http_status = 503


class BusyError(DatabaseError):
    code = "busy"


class DatabaseAwayError(DatabaseError):
    """It cannot be reached, or went away in mid-transaction; of which nothing was stored, or all of it."""

    code = "database_away"


class DatabaseRefusedError(DatabaseError):
    """It is there, and does not let us in."""

    code = "database_refused"
    retryable = False


class SchemaTooNewError(FgdError):
    code = "schema_too_new"


def from_database(error: BaseException, *, is_disconnected: bool = False) -> FgdError | None:
    """What a database error, of a driver or in SQLAlchemy's wrapping, means to a client; None where it is our mistake.

    Args:
        is_disconnected: it was raised while connecting, or the connection is lost.
    """
    cause = error.orig or error if isinstance(error, DBAPIError) else error
    message, state = str(cause), str(getattr(cause, "sqlstate", None) or "")
    if any(sign in message for sign in _FULL_DISK) or state == "53100":
        return StorageError("the disk that holds the database is full; free some space and try again")
    if "unable to open database file" in message:
        return StorageError("the database file cannot be opened; see that its folder exists and may be written to")
    if state in _BUSY or (isinstance(cause, sqlite3.OperationalError) and "locked" in message):
        return BusyError("the database is busy; try again in a moment", **_shown(state))
    if state in _REFUSED or state[:2] == "28":
        return DatabaseRefusedError(f"the database does not let us in: {message}; correct FGD_DATABASE_URL")
    if state in _AWAY or state[:2] == "08" or is_disconnected or isinstance(cause, (TimeoutError, ConnectionError)):
        return DatabaseAwayError(f"the database cannot be reached: {message or type(cause).__name__}", **_shown(state))
    if state in _UNSTORABLE or isinstance(cause, (OverflowError, UnicodeEncodeError)):
        return SpecError("the request holds a value that cannot be stored: a NUL, or a number beyond 64 bits")
    return None


def _shown(state: str) -> dict[str, str]:
    return {"sqlstate": state} if state else {}


_FULL_DISK = ("disk is full", "disk I/O error", "No space left")
# Serialization failure, deadlock; lock and statement time limits; too many connections, out of memory; a statement
# that was prepared before a migration, which works the second time.
_BUSY = {"40001", "40P01", "55P03", "57014", "53300", "53200", "0A000"}
# The server goes down, has crashed, comes up, or has ended a session that did nothing.
_AWAY = {"57P01", "57P02", "57P03", "57P05", "25P03"}
_REFUSED = {"3D000", "42501"}
_UNSTORABLE = {"22003", "22021", "22P05", "22P02"}


def from_os(error: OSError) -> FgdError | None:
    """What an operating system error means to a client; None where it is our own mistake."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageError("the disk that holds the storage folder is full; free some space and try again")
    return None
