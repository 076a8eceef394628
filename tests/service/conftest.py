"""Gives every test its own control plane, on both databases; on each kind of storage where that matters."""

import itertools
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from control_plane import ControlPlane, ManualClock
from documented import operations_of
from memory_cluster import MemoryCluster
from moto.server import ThreadedMotoServer

from service.server.app import create_app
from service.settings import Settings
from service.settings.groups import DatabaseSettings, StorageSettings
from service.store import migrate
from tests import databases
from tests.postgres import PostgresServer
from tests.shared_routes import with_shared_routes
from tests.tiers import leave_repetitions

ENGINES = ("sqlite", "postgresql")
STORAGES = ("folder", "s3")

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def empty_template(postgres: PostgresServer) -> str:
    """Name of a PostgreSQL database with all migrations applied, which tests copy."""
    migrate.upgrade(postgres.create("migrated"))
    return "migrated"


@pytest.fixture(params=ENGINES)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The test's own database with the newest schema; every test that uses it runs on both engines."""
    if request.param == "sqlite":
        databases.write_empty(tmp_path / "fgd.db")
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


@pytest.fixture(scope="session")
def s3_service() -> Iterator[str]:
    """The address of a real S3 service behind a real socket."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(params=STORAGES)
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """Settings of the test's own storage, of each kind; a module that overrides `settings` with
    `settings.model_copy(update=stored)` runs on both."""
    if request.param == "folder":
        return {"storage": StorageSettings(dir=tmp_path / "storage")}
    bucket = StorageSettings(dir=tmp_path / "storage", url=request.getfixturevalue("bucket"))
    return {"storage": bucket, "run_files": "through_server"}


@pytest.fixture
def bucket(s3_service: str) -> Iterator[str]:
    """The URL of a storage in a new bucket; the environment has the credentials."""
    name = f"bucket-{next(_numbers)}"
    httpx.put(f"{s3_service}/{name}").raise_for_status()
    values = {"ENDPOINT_URL": s3_service, "ACCESS_KEY_ID": "key", "SECRET_ACCESS_KEY": "secret", "REGION": "us-east-1"}
    # Not the test's monkeypatch, which the test may undo.
    with pytest.MonkeyPatch.context() as environment:
        for variable, value in values.items():
            environment.setenv(f"AWS_{variable}", value)
        yield f"s3://{name}/kept/here"
    httpx.post(f"{s3_service}/moto-api/reset").raise_for_status()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect tests with PostgreSQL that show nothing that the same tests with SQLite do not; mark repetitions."""
    repetitions = [item for item in items if _repeats_sqlite(item)]
    if repetitions:
        config.hook.pytest_deselected(items=repetitions)
        items[:] = [item for item in items if not _repeats_sqlite(item)]
    leave_repetitions([item for item in items if item.path.parent == Path(__file__).parent])


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build, before the processes are forked, what each of them would build at its first request for five seconds."""
    if session.config.getoption("processes") > 1 and not session.config.option.collectonly:
        with tempfile.TemporaryDirectory() as home:
            operations_of(with_shared_routes(create_app(Settings(home=Path(home)), MemoryCluster())))


def _repeats_sqlite(item: pytest.Item) -> bool:
    params = getattr(getattr(item, "callspec", None), "params", {})
    if params.get("database_url") != "postgresql":
        return False
    # S3 runs with SQLite only: rows and files share no transaction.
    return params.get("stored") == "s3" or item.get_closest_marker("one_database") is not None


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    (tmp_path / "storage").mkdir()
    return Settings(home=tmp_path, database=DatabaseSettings(url=database_url))


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def cluster() -> MemoryCluster:
    return MemoryCluster()


@pytest.fixture
async def other(
    settings: Settings, cluster: MemoryCluster, clock: ManualClock, tmp_path: Path
) -> AsyncIterator[ControlPlane]:
    """A second control plane on the same database and cluster, with its own home."""
    home = tmp_path / "other"
    home.mkdir()
    (home / "secret").write_text("ab" * 32)
    plane = ControlPlane(settings.model_copy(update={"home": home}), cluster, clock)
    yield plane
    await plane.close()


@pytest.fixture
async def plane(settings: Settings, cluster: MemoryCluster, clock: ManualClock) -> AsyncIterator[ControlPlane]:
    plane = ControlPlane(settings, cluster, clock)
    yield plane
    await plane.close()
