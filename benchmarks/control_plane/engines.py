"""The two database engines, with a separate database for each system."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests import postgres

Engine = Literal["sqlite", "postgresql"]


@dataclass(frozen=True)
class Databases:
    """Holds the URL of each system's database."""

    engine: Engine
    ours: str
    mlflow: str
    """In the form that MLflow's driver needs."""
    server: postgres.PostgresServer | None


@contextmanager
def databases(engine: Engine, folder: Path) -> Iterator[Databases]:
    """Yield durable databases: SQLite with each system's own settings, PostgreSQL with flushes to disk."""
    if engine == "sqlite":
        yield Databases(engine, f"sqlite+aiosqlite:///{folder}/fgd.db", f"sqlite:///{folder}/mlflow.db", None)
        return
    why = postgres.why_unavailable()
    if why is not None:
        raise SystemExit(why)
    with postgres.running(durable=True) as server:
        ours, theirs = server.create("fgd"), server.create("mlflow")
        yield Databases(engine, ours, theirs.replace("postgresql+asyncpg", "postgresql+psycopg2"), server)
