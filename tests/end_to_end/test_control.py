"""Pause, resume and cancel, with real runs on a Ray cluster.

`test_whole` has a cancelled run that cooperates, and `workers/test_entry_point` stops every phase of a run without Ray.
"""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from whole import Whole, endless, last_weights, succeeded, train, wait_for, wait_for_event

from fgd_core.runs import execute
from fgd_core.spec.data import InputSpec, Shapes
from service.client.client import FgdClient
from service.dispatcher.cluster import RayCluster
from service.dispatcher.local import LocalRay
from tests.library import RecordingContext
from tests.tiers import slow

pytestmark = pytest.mark.ray


def cpus_free(whole: Whole) -> float:
    async def ask() -> float:
        async with RayCluster(whole.ray_url, LocalRay(whole.home).token) as cluster:
            return sum(node.cpus_free for node in (await cluster.capacity()).nodes)

    return asyncio.run(ask())


def seconds_until_free(whole: Whole, since: float) -> float:
    while cpus_free(whole) < 2:
        assert time.monotonic() - since < 90, "the slot is not freed"
        time.sleep(0.5)
    return time.monotonic() - since


class TestPause:
    @slow("tests/end_to_end/test_control.py::test_a_paused_run_resumes")
    def test_a_paused_run_ends_with_the_weights_of_an_uninterrupted_run(
        self, whole: Whole, client: FgdClient, tmp_path: Path
    ) -> None:
        spec = train(epochs=150)  # more than one would last until the request arrives
        paused = client.submit(spec)
        wait_for_event(client, paused.job_id, "epoch_finished")
        client.pause(paused.job_id)
        stopped = wait_for(client, paused.job_id, lambda job: job.state == "paused")
        assert stopped.attempts[-1].cause == "stopped"
        assert stopped.progress.step is not None and stopped.progress.step < 600
        client.resume(paused.job_id)
        wait_for_event(client, paused.job_id, "resumed", after=stopped.last_sequence)
        # The uninterrupted run is made here, without Ray and the start of another process.
        assert execute(spec, RecordingContext(tmp_path)).outcome == "succeeded"
        job = succeeded(client, paused.job_id)
        assert (len(job.attempts), job.failures, job.losses) == (2, 0, 0)
        expected = torch.load(tmp_path / "checkpoints/last.pt", weights_only=True)["state"]
        found = last_weights(whole, job)
        assert expected.keys() == found.keys()
        assert all(torch.equal(expected[name], found[name]) for name in expected)


class TestCancel:
    @slow("tests/workers/test_entry_point.py::TestEntryPoint::test_a_cancel_stops_every_phase")
    def test_a_run_stops_by_itself_outside_its_training_steps(self, whole: Whole, client: FgdClient) -> None:
        """Stops in an evaluation."""
        data = Shapes(num_train=16, num_val=2_000, image_size_px=64)
        spec = train(epochs=1).model_copy(
            update={"data": data, "input": InputSpec(shorter_px=256, longer_px=256), "name": "busy"}
        )
        job_id = client.submit(spec).job_id
        wait_for_event(client, job_id, "epoch_finished")
        client.cancel(job_id)
        job = wait_for(client, job_id, lambda job: job.state == "cancelled")
        # The run reported this itself; Ray did not have to kill it.
        assert job.attempts[-1].cause == "stopped"
        ends = [event.data["outcome"] for event in client.events(job_id) if event.kind == "run_finished"]
        assert ends == ["stopped"]


@pytest.fixture
def apart_client(apart: Whole) -> Iterator[FgdClient]:
    with apart.client() as client:
        yield client


def test_a_paused_run_resumes_where_it_stopped_and_is_killed_if_it_ignores_a_cancel(
    apart: Whole, apart_client: FgdClient
) -> None:
    """One test, because each start of a run takes long."""
    client = apart_client
    job_id = client.submit(endless()).job_id
    wait_for_event(client, job_id, "epoch_finished")
    client.pause(job_id)
    paused = wait_for(client, job_id, lambda job: job.state == "paused")
    assert paused.attempts[-1].cause == "stopped"
    client.resume(job_id)
    resumed = wait_for_event(client, job_id, "resumed", after=paused.last_sequence)
    saved = [event for event in client.stored_events(job_id) if event.kind == "checkpoint_saved" and event.attempt == 1]
    assert resumed.data["step"] == saved[-1].data["step"] > 0
    job = client.job(job_id)
    assert (len(job.attempts), job.failures, job.losses) == (2, 0, 0)

    # A process that SIGSTOP has stopped answers neither the control plane nor SIGTERM.
    started = wait_for_event(client, job_id, "run_started", after=paused.last_sequence)
    pid = int(started.data["pid"])
    assert b"workers" in Path(f"/proc/{pid}/cmdline").read_bytes()
    os.kill(pid, signal.SIGSTOP)
    requested_s = time.monotonic()
    client.cancel(job_id)
    wait_for(client, job_id, lambda job: job.state == "cancelled")
    cancelled_s = time.monotonic() - requested_s
    free_s = seconds_until_free(apart, requested_s)
    print(f"\nignoring: cancelled after {cancelled_s:.1f} s, slot free after {free_s:.1f} s")
    assert not Path(f"/proc/{pid}").exists()
    wait_for(client, job_id, lambda job: job.attempts[-1].released_at is not None)
