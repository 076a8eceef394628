import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from whole import Whole

from service.client.client import FgdClient
from service.dispatcher.local import LocalRay


@pytest.fixture(scope="session")
def whole() -> Iterator[Whole]:
    home = Path(tempfile.mkdtemp(prefix="fgd-test-"))
    whole = Whole(home)
    try:
        whole.up()
        yield whole
        whole.down()
    finally:
        # Nothing to do, unless a test or `fgd up` itself went wrong.
        whole.kill()
        asyncio.run(LocalRay(home).stop())
        shutil.rmtree(home)


@pytest.fixture
def client(whole: Whole) -> Iterator[FgdClient]:
    with whole.client() as client:
        yield client
