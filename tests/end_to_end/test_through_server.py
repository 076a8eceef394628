"""Runs without a shared folder: all their files go through the control plane."""

import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from chain_runs import chain
from chain_runs import run as run_chain
from killed_sweep import compare
from moto.server import ThreadedMotoServer
from whole import LEASE_TTL_S, Whole, all_events, distill, logged_steps, running, succeeded, train, wait_for_event

from fgd_core.spec.dimensions import Choice
from fgd_core.spec.kinds.check_data import CheckDataSpec
from fgd_core.spec.kinds.evaluate import EvaluateSpec
from fgd_core.spec.kinds.sweep import SweepSpec
from fgd_core.spec.resources import Resources
from fgd_core.spec.search import Budget, Grid, RunAll
from fgd_core.spec.views import JobView
from service.client.client import FgdClient
from tests.tiers import slow

pytestmark = [pytest.mark.ray, pytest.mark.timeout(1500)]


@pytest.fixture
def client(apart: Whole) -> Iterator[FgdClient]:
    with apart.client() as client:
        yield client


def scratch_folders(whole: Whole, job_id: str) -> list[Path]:
    return [*(whole.home / "scratch").glob(f"fgd-{job_id}-*")]


def assert_uploaded(whole: Whole, client: FgdClient, job: JobView, folder: Path) -> None:
    """Check that a client can download a job's results, and that none of its files remain on the node."""
    names = {artifact.name for artifact in job.artifacts}
    assert ("samples_train.png" if job.kind == "check_data" else "samples.png") in names
    for name in names:
        # The download checks the digest that the run reported.
        assert client.download_artifact(job.job_id, name, folder / f"{job.job_id}-{name}").is_file()
    assert scratch_folders(whole, job.job_id) == []
    if job.kind == "distill":
        assert {"best.pt", "last.pt"} <= names


class TestThroughServer:
    def test_jobs_of_every_kind_upload_their_results(
        self, apart: Whole, client: FgdClient, apart_teacher: str, tmp_path: Path
    ) -> None:
        data = train().data
        submitted = [
            client.submit(distill(apart_teacher)),
            client.submit(EvaluateSpec(name="evaluated", checkpoint=apart_teacher, data=data)),
            client.submit(CheckDataSpec(name="checked", data=data)),
        ]
        ids = [apart_teacher.removeprefix("job:").removesuffix("/best"), *(job.job_id for job in submitted)]
        for job_id in ids:
            assert_uploaded(apart, client, succeeded(client, job_id), tmp_path)
        assert not [*(apart.home / "storage/jobs").rglob("outbox")]

    def test_a_run_that_lost_its_node_continues_from_its_uploads(self, apart: Whole, client: FgdClient) -> None:
        job_id = client.submit(train(epochs=30)).job_id
        pid = wait_for_event(client, job_id, "run_started").data["pid"]
        saved = wait_for_event(client, job_id, "checkpoint_saved")
        os.kill(pid, signal.SIGKILL)
        [lost] = scratch_folders(apart, job_id)
        shutil.rmtree(lost)
        job = succeeded(client, job_id)
        assert [attempt.cause for attempt in job.attempts] == ["lost", "succeeded"]
        events = all_events(client, job_id)
        resumed = next(event for event in events if event.kind == "resumed")
        assert resumed.data["epoch"] >= saved.data["epoch"] >= 1
        print(f"\nsaved until epoch {saved.data['epoch']}, resumed at {resumed.data['epoch']}")
        assert "/attempts/2/" in next(artifact.uri for artifact in job.artifacts if artifact.name == "best.pt")

    def test_a_server_that_is_killed_during_an_upload_has_the_file_in_the_end(
        self, apart: Whole, tmp_path: Path
    ) -> None:
        with apart.client() as client:
            job_id = client.submit(train(epochs=30)).job_id
            wait_for_event(client, job_id, "checkpoint_saved")
        apart.freeze()
        time.sleep(2)  # an epoch is much shorter, so the run sends checkpoints that the server does not accept
        apart.kill()
        time.sleep(1)
        apart.up()
        with apart.client() as client:
            job = succeeded(client, job_id)
            assert len(job.attempts) == 1
            assert "uploading files: the control plane cannot be reached" in client.log(job_id)
            for artifact in job.artifacts:
                assert client.download_artifact(job_id, artifact.name, tmp_path / artifact.name).is_file()
            last = [event for event in all_events(client, job_id) if event.kind == "checkpoint_saved"][-1]
            assert last.data["epoch"] == 30
            # A new server copies to a logger when the killed one's lease has expired.
            time.sleep(1.5 * LEASE_TTL_S)
            assert logged_steps(apart, job, "loss") == [*range(1, last.data["step"] + 1)]

    def test_a_sweep_makes_the_same_decisions_when_its_driver_is_killed(
        self, apart: Whole, client: FgdClient, apart_teacher: str, tmp_path: Path
    ) -> None:
        counts = compare(client, "asha", apart_teacher, kills=1, seed=20261122, trials=4)
        print(f"\n{counts}")
        assert counts.attempts == counts.lost_runs + 1 == 2
        for sweep in client.jobs(kind="sweep"):
            [best] = [artifact for artifact in client.job(sweep.job_id).artifacts if artifact.name == "best.pt"]
            assert "/trials/" in best.uri
            assert client.download_artifact(sweep.job_id, "best.pt", tmp_path / "best.pt").is_file()
            # The driver's folder is removed. Later runs on this node remove those of a killed driver's trials.
            assert not [folder for folder in scratch_folders(apart, sweep.job_id) if (folder / "outbox").exists()]
            if len(client.job(sweep.job_id).attempts) == 1:
                kept = [path.name for path in (apart.home / "storage/jobs" / sweep.job_id).rglob("*.pt")]
                assert "best.pt" in kept and "last.pt" not in kept, "no trial continues from a finished one"

    def test_a_chain_that_lost_its_node_goes_on_from_its_uploads(
        self, apart: Whole, client: FgdClient, apart_teacher: str, tmp_path: Path
    ) -> None:
        job_id = run_chain(client, chain(apart_teacher), tmp_path, kill_in="2", node=apart.home / "scratch")
        finished = [event.data["stage"] for event in all_events(client, job_id) if event.kind == "stage_finished"]
        assert finished == ["1", "2", "control"]
        names = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.pt")}
        assert names == {"best.pt", "stages/1/best.pt", "stages/2/best.pt", "stages/control/best.pt"}

    @slow("tests/end_to_end/test_several_workers.py::test_workers_end_with_their_killed_driver")
    def test_each_trial_of_a_sweep_trains_in_two_processes(self, client: FgdClient, apart_teacher: str) -> None:
        spec = SweepSpec(
            name="by two",
            base=distill(apart_teacher),
            space={"method.scale": Choice(values=(0.05, 0.1))},
            searcher=Grid(),
            scheduler=RunAll(),
            budget=Budget(trials=2),
            resources=Resources(workers=2),
            baselines=False,
        )
        sweep = succeeded(client, client.submit(spec).job_id)
        events = all_events(client, sweep.job_id)
        ends = [event.data["cause"] for event in events if event.kind == "trial_ended"]
        assert ends == ["completed", "completed"]
        inner = [event.data["event"] for event in events if event.kind == "trial_event"]
        assert [len(event["workers"]) for event in inner if event["kind"] == "workers_started"] == [2, 2]
        assert "best.pt" in {artifact.name for artifact in sweep.artifacts}


class TestBucket:
    @slow("tests/end_to_end/test_through_server.py::TestThroughServer::test_jobs_of_every_kind")
    def test_runs_need_no_credentials_of_the_bucket(self, tmp_path: Path) -> None:
        server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        server.start()
        try:
            host, port = server.get_host_and_port()
            s3 = {
                "AWS_ENDPOINT_URL": f"http://{host}:{port}",
                "AWS_ACCESS_KEY_ID": "test",
                "AWS_SECRET_ACCESS_KEY": "test",
                "AWS_REGION": "us-east-1",
            }
            httpx.put(f"{s3['AWS_ENDPOINT_URL']}/bucket").raise_for_status()
            with running(FGD_STORAGE_URL="s3://bucket/prefix", **s3) as whole, whole.client() as client:
                # The student's run reads the teacher's checkpoint; both write into the bucket.
                teacher = client.submit(train()).job_id
                student = client.submit(distill(f"job:{teacher}/best")).job_id
                done = [succeeded(client, job_id) for job_id in (teacher, student)]
                for job in done:
                    assert_uploaded(whole, client, job, tmp_path)
                uris = [artifact.uri for job in done for artifact in job.artifacts if artifact.name == "best.pt"]
                assert uris and all(uri.startswith("s3://bucket/prefix/jobs/") for uri in uris)
        finally:
            server.stop()
