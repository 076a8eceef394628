"""The two database engines, each with a database of its own for either system."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests import postgres

Engine = Literal["sqlite", "postgresql"]


@dataclass(frozen=True)
class Databases:
    engine: Engine
    ours: str
    mlflow: str
    """A URL, as the other system's driver wants it."""
    server: postgres.PostgresServer | None


@contextmanager
def databases(engine: Engine, folder: Path) -> Iterator[Databases]:
    """Both keep what they commit: SQLite as each system sets it up, PostgreSQL flushing to disk."""
    if engine == "sqlite":
        yield Databases(engine, f"sqlite+aiosqlite:///{folder}/fgd.db", f"sqlite:///{folder}/mlflow.db", None)
        return
    why = postgres.why_unavailable()
    if why is not None:
        raise SystemExit(why)
    with postgres.running(durable=True) as server:
        ours, theirs = server.create("fgd"), server.create("mlflow")
        yield Databases(engine, ours, theirs.replace("postgresql+asyncpg", "postgresql+psycopg2"), server)
