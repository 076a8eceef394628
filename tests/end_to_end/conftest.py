from collections.abc import Iterator
from pathlib import Path

import pytest
from whole import Whole, running

from service.client.client import FgdClient

FOLDER = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let one test process run all of these tests: each process would start a Ray of its own."""
    for item in items:
        if item.path.parent == FOLDER:
            item.add_marker(pytest.mark.xdist_group("end_to_end"))


@pytest.fixture(scope="session")
def whole() -> Iterator[Whole]:
    with running() as whole:
        yield whole


@pytest.fixture
def client(whole: Whole) -> Iterator[FgdClient]:
    with whole.client() as client:
        yield client
