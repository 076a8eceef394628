import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from whole import Whole, all_events, distill, endless, is_complete, train, wait_for, wait_for_event

from fgd_core.spec.data import Registered
from fgd_core.spec.kinds.derive_data import DeriveDataSpec
from fgd_core.spec.kinds.teacher import Teacher
from fgd_core.spec.methods import Fgd, Ikd
from fgd_core.spec.views import JobView
from service.client.client import FgdClient
from service.dispatcher.cluster import RayCluster
from service.dispatcher.local import LocalRay
from service.jobs.cluster import Capacity
from tests.tiers import slow

pytestmark = pytest.mark.ray


def capacity(whole: Whole) -> Capacity:
    async def ask() -> Capacity:
        async with RayCluster(whole.ray_url, LocalRay(whole.home).token) as cluster:
            return await cluster.capacity()

    return asyncio.run(ask())


def page_of_ray(dashboard_url: str) -> dict[str, Any]:
    """Return what Ray's dashboard shows about a job, by the link to its page."""
    origin, _, path = dashboard_url.partition("#")
    page: dict[str, Any] = httpx.get(f"{origin}api/jobs/{path.rpartition('/')[2]}").json()
    return page


@pytest.fixture(scope="module")
def teacher(whole: Whole) -> JobView:
    with whole.client() as client:
        return client.submit(train())


class TestWhole:
    @slow("tests/test_derived_pictures.py")
    def test_a_student_learns_from_the_copies_that_a_job_derives(
        self, client: FgdClient, teacher: JobView, tmp_path: Path
    ) -> None:
        best, spec = f"job:{teacher.job_id}/best", train()
        deriving = DeriveDataSpec(
            name="copies",
            data=spec.data,
            teacher=Teacher(checkpoint=best),
            dataset="tiny-copies",
            folder=str(tmp_path / "copies"),
            input=spec.input,
            num_samples=1,
        )
        derived = wait_for(client, client.submit(deriving).job_id, lambda job: job.ended_at is not None)
        assert derived.state == "succeeded", derived.error
        of_copies = {"data": Registered(name="tiny-copies"), "method": Ikd(base=Fgd(scale=0.05))}
        student = client.submit(distill(best).model_copy(update=of_copies)).job_id
        done = wait_for(client, student, lambda job: job.ended_at is not None)
        assert done.state == "succeeded", done.error
        [epoch] = [event for event in all_events(client, student) if event.kind == "epoch_finished"]
        assert {"distill/foreground", "distill/adversarial"} <= set(epoch.data["values"])
        assert len([*(tmp_path / "copies/train").iterdir()]) == deriving.data.num_train

    @pytest.mark.timeout(1500)
    def test_a_run_outlives_its_control_plane_and_continues_on_a_new_ray_head(self, apart: Whole) -> None:
        """One test, because each start of a run takes long. In the end the run is cancelled, and cooperates."""
        with apart.client() as client:
            job_id = client.submit(endless()).job_id
            before = wait_for_event(client, job_id, "epoch_finished")
        apart.kill()
        time.sleep(2)  # the run continues meanwhile, and has events to report
        apart.up()
        with apart.client() as client:
            adopted = client.job(job_id)
            finished = wait_for_event(client, job_id, "epoch_finished", after=adopted.last_sequence)
            assert finished.attempt == 1 and finished.data["epoch"] > before.data["epoch"]

            saved = wait_for_event(client, job_id, "checkpoint_saved", after=finished.sequence)
            head = apart.head()
            os.kill(head["pid"], signal.SIGKILL)
            again = wait_for(client, job_id, lambda job: len(job.attempts) == 2, timeout_s=300)
            # A run that outlived its head is asked to save and stop before the next head starts.
            assert again.attempts[0].cause in ("stopped", "lost")
            resumed = wait_for_event(client, job_id, "resumed", after=saved.sequence)
            assert resumed.data["epoch"] >= saved.data["epoch"]
            assert apart.head()["mark"] != head["mark"]

            url = client.job(job_id).dashboard_url
            assert url is not None
            page = page_of_ray(url)["metadata"]
            assert (page["job_id"], page["job_name"]) == (job_id, "tiny (train)")
            client.cancel(job_id)
            job = wait_for(client, job_id, lambda job: bool(job.attempts[-1].released_at))
            events = all_events(client, job_id)
        assert (job.state, len(job.attempts)) == ("cancelled", 2)
        # Ray still has the job, and the link still works.
        assert job.dashboard_url == url
        assert page_of_ray(url)["end_time"] is not None
        assert is_complete(events)
        epochs = [event.data["epoch"] for event in events if event.kind == "epoch_finished" and event.attempt == 1]
        assert epochs == list(range(1, len(epochs) + 1))
        finished = [event for event in events if event.kind == "run_finished"][-1]
        assert (finished.attempt, finished.data["outcome"]) == (2, "stopped")
        deadline = time.monotonic() + 240
        while sum(node.cpus_free for node in capacity(apart).nodes) < 2:
            assert time.monotonic() < deadline, "a cancelled job still holds its CPU"
            time.sleep(0.5)

    @slow("tests/end_to_end/test_through_server.py::TestThroughServer::test_a_chain_that_lost_its_node")
    def test_a_killed_run_restarts_from_its_checkpoint(self, client: FgdClient) -> None:
        job_id = client.submit(endless()).job_id
        pid = wait_for_event(client, job_id, "run_started").data["pid"]
        saved = wait_for_event(client, job_id, "checkpoint_saved")
        os.kill(pid, signal.SIGKILL)
        lost = wait_for(client, job_id, lambda job: len(job.attempts) == 2)
        assert lost.attempts[0].error is not None and lost.attempts[0].error.code == "lost_run"
        resumed = wait_for_event(client, job_id, "resumed", after=saved.sequence)
        assert resumed.data["epoch"] >= saved.data["epoch"]
        wait_for_event(client, job_id, "epoch_finished", after=resumed.sequence)
        client.cancel(job_id)
        wait_for(client, job_id, lambda job: job.state == "cancelled")
        assert is_complete(all_events(client, job_id))
