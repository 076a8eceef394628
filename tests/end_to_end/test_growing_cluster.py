"""A cluster without nodes grows for a single job, and shrinks again, also when the server is killed meanwhile."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from whole import Whole, succeeded

from benchmarks import autoscaling
from benchmarks.autoscaling import LARGE, SMALL, environment, job
from service.dispatcher.growing import PREFIX
from tests.growing_ray import growing_ray

pytestmark = pytest.mark.ray


def until(is_so: Callable[[], bool]) -> None:
    # Each question takes Ray and this process some hundredths of a second.
    autoscaling.until(is_so, time.monotonic(), every_s=1.0)


def test_a_job_brings_up_the_node_it_needs_and_the_cluster_is_empty_afterwards() -> None:
    """One test, because a start of Ray takes long: the server is killed when it has asked for the node."""
    with growing_ray([SMALL, LARGE], idle_s=4.0) as ray, tempfile.TemporaryDirectory() as home:
        whole = Whole(Path(home), **environment(ray))
        whole.up()
        try:
            with whole.client() as client:
                job_id = client.submit(job()).job_id
            until(lambda: any(id_.startswith(PREFIX) for id_ in ray.runs()))
            whole.kill()

            # What was asked outlives the server.
            until(lambda: ray.nodes() == [SMALL.shape])
            whole.up()
            with whole.client() as client:
                assert len(succeeded(client, job_id).attempts) == 1

            until(lambda: not ray.nodes())
            # What was asked is taken back some tenths of a second before its process ends.
            until(lambda: all(is_over for is_over in ray.runs().values()))
        finally:
            whole.kill()
