"""Fixtures for all tests: how they use the machine, and where reference data is."""

import gc
import itertools
import logging
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import structlog
import torch

from fgd_core.evaluation import speed
from tests import parallel, schedule
from tests import postgres as postgresql
from tests.tiers import COLLECTED

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
# A busy machine answers later than httpx's five seconds; a test that is about a timeout gives its own.
vars(httpx._config.DEFAULT_TIMEOUT_CONFIG).update(dict.fromkeys(("connect", "read", "write", "pool"), 240.0))

# Each client without an encrypted connection would load the same certificates, in 30 ms of CPU time.
_certificates = httpx.create_ssl_context()
vars(httpx._transports.default)["create_ssl_context"] = lambda verify=True, cert=None, trust_env=True: (
    _certificates
    if verify is True and cert is None and not {"SSL_CERT_FILE", "SSL_CERT_DIR"} & os.environ.keys()
    else httpx.create_ssl_context(verify, cert, trust_env)
)

# Runs of tests measure the speed of their tiny detectors on fewer images: it took a tenth of the time of these runs.
speed._IMAGES = 4

SHARED = Path(os.environ.get("FGD_SHARED", REPOSITORY.parent / "shared"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--processes", type=int, default=1, help="number of processes that run the tests")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    config.stash[COLLECTED] = {item.nodeid: item.get_closest_marker("slow") for item in items}


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    count = session.config.getoption("processes")
    if count == 1 or session.testsfailed or session.config.option.collectonly:
        return None
    tests = ((item.nodeid, item.get_closest_marker("ray") is not None) for item in session.items)
    parallel.run(session, schedule.groups(tests), count)
    return True


# While modules are imported, garbage collection looks at ever more objects, and finds nothing to free.
gc.disable()


def pytest_collection_finish() -> None:
    """Leave the modules out of garbage collection: looking at them took a sixth of the time of short tests."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def forks_can_train() -> None:
    """Compute a gradient before anything is compiled.

    With the first gradient after a compilation PyTorch starts threads; then no fork of this process can compute any.
    """
    torch.zeros((), requires_grad=True).backward()


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
