"""A control plane of its own for every test, on each of the two databases."""

import itertools
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from control_plane import ControlPlane, ManualClock
from memory_cluster import MemoryCluster

from service.settings import Settings
from service.store import migrate
from tests.postgres import PostgresServer

ENGINES = ("sqlite", "postgresql")

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def empty_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with all migrations applied."""
    path = tmp_path_factory.mktemp("database") / "fgd.db"
    migrate.upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def empty_template(postgres: PostgresServer) -> str:
    """Name of a PostgreSQL database with all migrations applied, to make copies of."""
    migrate.upgrade(postgres.create("migrated"))
    return "migrated"


@pytest.fixture(params=ENGINES)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database of this test's own, at the newest schema; every test that uses it runs on both engines."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("empty_file"), tmp_path / "fgd.db")
        yield f"sqlite+aiosqlite:///{tmp_path}/fgd.db"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    name = f"test_{next(_numbers)}"
    yield server.create(name, template=request.getfixturevalue("empty_template"))
    server.drop(name)


@pytest.fixture(params=ENGINES)
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without a schema, on each engine."""
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path}/fgd.db"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    (tmp_path / "storage").mkdir()
    return Settings(home=tmp_path, database_url=database_url)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def cluster() -> MemoryCluster:
    return MemoryCluster()


@pytest.fixture
async def plane(settings: Settings, cluster: MemoryCluster, clock: ManualClock) -> AsyncIterator[ControlPlane]:
    plane = ControlPlane(settings, cluster, clock)
    yield plane
    await plane.close()
