"""Gives tests an SQLite database with the newest schema, without running the migrations each time."""

import tempfile
from functools import cache
from pathlib import Path

from service.store import migrate


def write_empty(path: Path) -> None:
    """Write an SQLite file with all migrations applied and no rows."""
    path.touch(mode=0o600)
    path.write_bytes(_migrated())


@cache
def _migrated() -> bytes:
    # Migrations take 0.2 s of CPU time: once per test process, not once per test.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fgd.db"
        migrate.upgrade(f"sqlite:///{path}")
        return path.read_bytes()
