"""One Ray head for all tests of this folder, because its start takes long."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from service.dispatcher.cluster import RayCluster
from service.dispatcher.local import LocalRay


@pytest.fixture(scope="session")
def head() -> Iterator[LocalRay]:
    home = Path(tempfile.mkdtemp(prefix="fgd-test-"))
    ray = LocalRay(home)
    try:
        asyncio.run(ray.start(num_cpus=2, num_gpus=0))
        yield ray
    finally:
        asyncio.run(ray.stop())
        shutil.rmtree(home)


@pytest.fixture
async def cluster(head: LocalRay) -> AsyncIterator[RayCluster]:
    async with RayCluster(await head.start(), head.token) as cluster:
        yield cluster
