from collections.abc import Iterator

import pytest
from whole import Whole, running

from service.client.client import FgdClient


@pytest.fixture(scope="session")
def whole() -> Iterator[Whole]:
    with running() as whole:
        yield whole


@pytest.fixture
def client(whole: Whole) -> Iterator[FgdClient]:
    with whole.client() as client:
        yield client
