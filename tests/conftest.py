"""Fixtures for all tests: how they use the machine, and where reference data is."""

import gc
import itertools
import logging
import os
import signal
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import httpx
import pytest
import structlog
import torch
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from tests import postgres as postgresql

# Several test processes share a few cores, so more threads would only wait for each other.
torch.set_num_threads(1)

# A shell that starts the tests in the background makes them ignore Ctrl-C. Processes that a test starts would inherit
# this, and would not end when a test interrupts them.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Without cached bytecode, each test process compiles every test module, which takes nine seconds of CPU time, and each
# process that a test starts compiles our modules again.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Tests measure what they claim, and leave nothing in the user's folders.
os.environ["FGD_CACHE"] = "off"

REPOSITORY = Path(__file__).resolve().parent.parent
RAY_GROUPS = {
    "tests/end_to_end/": "end_to_end",
    "tests/cluster/": "ray",
    "tests/chaos/test_chaos": "ray",
    "tests/chaos/test_ray_nodes": "ray",
    "tests/client/test_demo": "ray",
}
"""Beginning of a test's id -> group whose tests share a process."""
SLOW = (
    "tests/test_export.py",
    "tests/training/test_compiling.py",
    "tests/training/test_no_compiler.py",
    "tests/service/test_openapi_fuzz.py",
    "tests/workers/test_entry_point.py",
    "tests/workers/test_start_trace.py",
    "tests/methods/test_embedding.py",
)
"""Modules with tests of ten seconds and more."""
# A busy machine answers later than httpx's five seconds; a test that is about a timeout gives its own.
vars(httpx._config.DEFAULT_TIMEOUT_CONFIG).update(dict.fromkeys(("connect", "read", "write", "pool"), 240.0))

SHARED = Path(os.environ.get("FGD_SHARED", REPOSITORY.parent / "shared"))


class _InGroups(LoadScopeScheduling):
    """Gives all end-to-end tests to one test process, and all other tests that start Ray to another one.

    Several Rays at once slow each other down. A module whose tests share a fixture is also given to one process:
    otherwise each process would make the fixture. xdist's own groups do nothing with pytest 9.2, which ignores the
    suffix that xdist appends to a test's id.
    """

    def _split_scope(self, nodeid: str) -> str:
        return _ray_group(nodeid) or (_module(nodeid) if _shares_fixtures(_module(nodeid)) else nodeid)


def _ray_group(nodeid: str) -> str | None:
    return next((group for prefix, group in RAY_GROUPS.items() if nodeid.startswith(prefix)), None)


def _module(nodeid: str) -> str:
    return nodeid.partition("::")[0]


@cache
def _shares_fixtures(module: str) -> bool:
    return 'scope="' in (REPOSITORY / module).read_text()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that no process has to run it alone at the end."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: _rank(item.nodeid))


def _rank(nodeid: str) -> int:
    ranks = {"end_to_end": 0, "ray": 1}
    by_module = 2 if _shares_fixtures(_module(nodeid)) else 3 if _module(nodeid) in SLOW else 4
    return ranks.get(_ray_group(nodeid) or "", by_module)


# While modules are imported, garbage collection looks at ever more objects, and finds nothing to free.
gc.disable()


def pytest_collection_finish() -> None:
    """Leave the modules out of garbage collection: looking at them took a sixth of the time of short tests."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling | None:
    if config.getvalue("dist") != "loadgroup":
        return None
    # The order of the tests, instead of an order by the size of the groups.
    config.option.loadscopereorder = False
    return _InGroups(config, log)


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Restore the logging settings: a command that runs in this process changes them."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of reference numbers and real data, which are not part of the repository."""
    if not SHARED.is_dir():
        pytest.skip(f"no reference numbers and real data at {SHARED}; set FGD_SHARED to their folder")
    return SHARED


@pytest.fixture(scope="session")
def postgres() -> Iterator[postgresql.PostgresServer]:
    """One PostgreSQL server for the whole session. A test that kills a server starts its own one with
    `tests.postgres.running(durable=True)`."""
    why = postgresql.why_unavailable()
    if why is not None:
        pytest.skip(why)
    with postgresql.running() as server:
        yield server


_numbers = itertools.count(1)


@pytest.fixture
def postgres_url(postgres: postgresql.PostgresServer) -> Iterator[str]:
    """URL of an empty database, which is deleted after the test."""
    name = f"empty_{next(_numbers)}"
    yield postgres.create(name)
    postgres.drop(name)
