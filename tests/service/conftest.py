"""A control plane of its own for every test."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from control_plane import ControlPlane, ManualClock
from memory_cluster import MemoryCluster

from service.settings import Settings
from service.store import migrate


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file with all migrations applied."""
    path = tmp_path_factory.mktemp("database") / "fgd.db"
    migrate.upgrade(f"sqlite+aiosqlite:///{path}")
    return path


@pytest.fixture
def settings(tmp_path: Path, empty_database: Path) -> Settings:
    shutil.copy(empty_database, tmp_path / "fgd.db")
    (tmp_path / "storage").mkdir()
    return Settings(home=tmp_path)


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
