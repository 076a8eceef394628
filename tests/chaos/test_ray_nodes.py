"""The cluster of several nodes, and a run whose node dies."""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fgd_core.errors import ClusterError
from service.dispatcher.cluster import RayCluster, Submission
from tests.chaos.ray_nodes import RayNodes
from tests.cluster.runs import eventually
from tests.tiers import slow

pytestmark = pytest.mark.ray


@pytest.fixture
def ray() -> Iterator[RayNodes]:
    folder = Path(tempfile.mkdtemp(prefix="fgd-r-", dir="/tmp"))
    nodes = RayNodes(folder, folder / "r", cpus_per_node=1)
    try:
        nodes.start(1)
        yield nodes
    finally:
        nodes.stop()
        shutil.rmtree(folder)


@slow("tests/chaos/test_chaos.py")
async def test_a_run_whose_node_dies_fails_and_its_log_is_lost(ray: RayNodes) -> None:
    submission = Submission(
        submission_id="fgd-test",
        entrypoint=f'{sys.executable} -uc "print(1); import time; time.sleep(600)"',
        environment={},
        cpus=1,
        gpus=0,
    )
    async with RayCluster(ray.dashboard_url, ray.token) as cluster:
        await cluster.submit(submission)
        await eventually(lambda: cluster.logs(submission.submission_id), lambda log: "1\n" in str(log))
        [node] = ray.nodes
        ray.kill(node)
        assert node.processes() == set()
        ray.add_node()
        found = await eventually(lambda: cluster.job(submission.submission_id), lambda job: job is None or job.is_over)
        assert found is not None and found.status == "FAILED"

        async def size_of_log() -> int | None:
            try:
                return (await cluster.logs(submission.submission_id)).size_bytes
            except ClusterError:
                # Ray knows sooner that the run has failed than that its node is dead.
                return None

        assert await eventually(size_of_log, lambda size: size is not None) == 0
        await eventually(cluster.capacity, lambda capacity: capacity.cpus_total == 1)
