"""Closes the control plane's folder to other users: it holds tokens and the secrets of webhooks."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import structlog

from fgd_core.errors import StorageError

_SECRETS = ("secret", "ray_auth_token", "ray.json", "dispatcher.json")
_OF_SQLITE = ("", "-wal", "-shm", "-journal")

log = structlog.get_logger(__name__)


Note = Callable[..., object]
"""Called with an event and its fields, as a logger's method is."""


def unnoted(event: str, **_: object) -> None:
    """Drop the note: for commands that have no log."""


def make_private(home: Path, database_url: str | None = None, *, note: Note | None = None) -> None:
    """Create the home if it is missing, and close it and its secrets to other users; log what was changed.

    A folder of another user, or one that all users share such as /tmp, is not changed; a warning is logged.

    Args:
        database_url: an SQLite file is created, so that it is private from the start; SQLite gives the files that it
            adds the same permissions.
        note: called instead of the log.
    Raises:
        StorageError: the home cannot be created or written.
    """
    note = note or log.warning
    database = _sqlite_file(database_url)
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        if database is not None and database.parent.is_dir():
            os.close(os.open(database, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as cause:
        raise StorageError(
            f"cannot write to {home}: {cause.strerror}; choose another folder with --home", home=str(home)
        ) from cause
    files = [home / name for name in _SECRETS]
    if database is not None:
        files += [database.with_name(database.name + ending) for ending in _OF_SQLITE]
    closed = [path for path, mode in [(home, 0o700), *((file, 0o600) for file in files)] if _close(path, mode, note)]
    if closed:
        note("home_tightened", home=str(home), closed_to_others=[str(path) for path in closed])


def _close(path: Path, mode: int, note: Note) -> bool:
    """Remove the permissions of all other users. Returns True if there were any. Links are not followed."""
    try:
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode) or not status.st_mode & 0o077:
            return False
        if status.st_mode & stat.S_ISVTX or status.st_uid != os.geteuid():
            cure = "choose a private folder with --home" if path.is_dir() else f"run chmod {mode:o} as its owner"
            note("open_to_others", path=str(path), owner=status.st_uid, cure=cure)
            return False
        path.chmod(status.st_mode & mode)
    except FileNotFoundError:
        return False
    except OSError as cause:
        note("open_to_others", path=str(path), cause=cause.strerror)
        return False
    return True


def _sqlite_file(database_url: str | None) -> Path | None:
    scheme, _, place = (database_url or "").partition(":///")
    name = place.partition("?")[0]
    return Path(name) if scheme.startswith("sqlite") and name not in ("", ":memory:") else None
