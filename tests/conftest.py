"""How tests use the machine, and where they find what lies outside the repository."""

import itertools
import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
import torch

from tests import postgres as postgresql

# Several test processes on a few cores: threads that wait for each other's turn cost more than they bring.
torch.set_num_threads(1)

# A shell that starts the tests in the background lets them ignore Ctrl-C, and every process that a test starts would
# inherit that: those that a test interrupts would never end.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("FGD_SHARED", REPOSITORY.parent / "shared"))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of several test processes one runs all that start a Ray, one after the other: Ray takes a machine for itself."""
    for item in items:
        if item.get_closest_marker("ray"):
            item.add_marker(pytest.mark.xdist_group("ray"))


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """A command that runs in this process sets up its logs for all of it; the next test starts without them."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def shared() -> Path:
    """Reference numbers and real data, which are not part of the repository."""
    if not SHARED.is_dir():
        pytest.skip(f"no reference numbers and real data at {SHARED}; set FGD_SHARED to their folder")
    return SHARED


@pytest.fixture(scope="session")
def postgres() -> Iterator[postgresql.PostgresServer]:
    """One PostgreSQL for the whole session. Kill only one of your own: `with tests.postgres.running(durable=True)`."""
    why = postgresql.why_unavailable()
    if why is not None:
        pytest.skip(why)
    with postgresql.running() as server:
        yield server


_numbers = itertools.count(1)


@pytest.fixture
def postgres_url(postgres: postgresql.PostgresServer) -> Iterator[str]:
    """An empty database, gone after the test."""
    name = f"empty_{next(_numbers)}"
    yield postgres.create(name)
    postgres.drop(name)
