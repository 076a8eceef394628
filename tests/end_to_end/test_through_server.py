"""Runs without a shared folder: all their files go through the control plane."""

import asyncio
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from killed_sweep import compare, decisions, run_killed
from killed_sweep import sweep as swept
from moto.server import ThreadedMotoServer
from whole import (
    LEASE_TTL_S,
    Whole,
    all_events,
    distill,
    is_complete,
    logged_steps,
    running,
    succeeded,
    train,
    wait_for_event,
)

from fgd_core.spec.dimensions import Choice
from fgd_core.spec.kinds.check_data import CheckDataSpec
from fgd_core.spec.kinds.evaluate import EvaluateSpec
from fgd_core.spec.kinds.sweep import SweepSpec
from fgd_core.spec.resources import Resources
from fgd_core.spec.search import Budget, Grid, RunAll
from fgd_core.spec.views import JobView
from service.client.client import FgdClient
from service.dispatcher.cluster import RayCluster
from service.dispatcher.local import LocalRay
from tests.tiers import slow

pytestmark = [pytest.mark.ray, pytest.mark.timeout(1500)]

AWAY = "uploading files: the control plane cannot be reached"


@pytest.fixture
def client(apart: Whole) -> Iterator[FgdClient]:
    with apart.client() as client:
        yield client


def scratch_folders(whole: Whole, job_id: str) -> list[Path]:
    return [*(whole.home / "scratch").glob(f"fgd-{job_id}-*")]


def checkpoints_on_node(whole: Whole, job_id: str) -> list[Path]:
    return [path for folder in scratch_folders(whole, job_id) for path in folder.rglob("last.pt")]


def log_on_ray(whole: Whole, job_id: str) -> str:
    """Return the log of a job's first run, which Ray has also while the control plane is away."""

    async def read() -> str:
        async with RayCluster(whole.ray_url, LocalRay(whole.home).token) as cluster:
            return str(await cluster.logs(f"fgd-{job_id}-1"))

    return asyncio.run(read())


def until(is_so: Callable[[], bool], timeout_s: float = 240.0, *, every_s: float = 0.2) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(every_s)


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


def assert_best_is_kept(whole: Whole, client: FgdClient, sweep: JobView, folder: Path) -> None:
    """Check that a client can download a sweep's best checkpoint, and that no run has a file to send."""
    [best] = [artifact for artifact in sweep.artifacts if artifact.name == "best.pt"]
    assert "/trials/" in best.uri
    assert client.download_artifact(sweep.job_id, "best.pt", folder / "best.pt").is_file()
    # The driver's folder is removed. Later runs on this node remove those of a killed driver's trials.
    assert not [folder for folder in scratch_folders(whole, sweep.job_id) if (folder / "outbox").exists()]


CHAIN = "tests/end_to_end/test_through_server.py::TestThroughServer::test_a_chain_that_lost_its_node"
SWEEP = "tests/end_to_end/test_through_server.py::TestThroughServer::test_a_sweep_goes_on_after"
JOBS = "tests/end_to_end/test_through_server.py::TestThroughServer::test_a_student_waits"


class TestThroughServer:
    def test_a_student_waits_for_its_teacher_and_both_upload_their_results(
        self, apart: Whole, client: FgdClient, submitted_teacher: JobView, tmp_path: Path
    ) -> None:
        teacher, posted = submitted_teacher, submitted_teacher.created_at.timestamp()
        student = client.submit(distill(f"job:{teacher.job_id}/best"))
        assert client.job(student.job_id).state == "blocked"
        started = wait_for_event(client, teacher.job_id, "run_started")
        ready = wait_for_event(client, teacher.job_id, "device_ready")
        print(f"\nPOST to the run's first event: {started.at.timestamp() - posted:.2f} s, {started.data['seconds']}")
        print(f"POST to the device: {ready.at.timestamp() - posted:.2f} s, {ready.data['seconds']}")
        for job in (teacher, student):
            assert_uploaded(apart, client, succeeded(client, job.job_id), tmp_path)
        assert not [*(apart.home / "storage/jobs").rglob("outbox")]

        events = all_events(client, student.job_id)
        assert is_complete(events)
        kinds = [event.kind for event in events]
        assert kinds.index("run_started") < kinds.index("epoch_finished") < kinds.index("run_finished")
        [taught] = [event for event in events if event.data.get("role") == "teacher"]
        assert taught.data["num_matched"] == taught.data["num_total"] > 0
        assert any(name.startswith("distill/") for event in events for name in event.data.get("values", {}))
        report = client.report(student.job_id).jobs[0]
        assert report.result is not None
        assert report.diagnosis is not None and report.diagnosis.num_boxes > 0
        assert b"Worst images of tiny student" in client.report_as("html", student.job_id)

    @slow(JOBS)
    def test_an_evaluation_and_a_check_upload_their_results(
        self, apart: Whole, client: FgdClient, apart_teacher: str, tmp_path: Path
    ) -> None:
        data = train().data
        evaluation = EvaluateSpec(name="evaluated", checkpoint=apart_teacher, data=data)
        jobs = [client.submit(spec) for spec in (evaluation, CheckDataSpec(name="checked", data=data))]
        for job in jobs:
            assert_uploaded(apart, client, succeeded(client, job.job_id), tmp_path)

    @slow(CHAIN)
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
        # The run saves a checkpoint after each epoch, and sends it; the server accepts no more.
        frozen_at = time.time()
        until(lambda: any(path.stat().st_mtime > frozen_at for path in checkpoints_on_node(apart, job_id)))
        apart.kill()
        until(lambda: AWAY in log_on_ray(apart, job_id), every_s=1.0)
        apart.up()
        with apart.client() as client:
            job = succeeded(client, job_id)
            assert len(job.attempts) == 1
            assert AWAY in client.log(job_id)
            for artifact in job.artifacts:
                assert client.download_artifact(job_id, artifact.name, tmp_path / artifact.name).is_file()
            last = [event for event in all_events(client, job_id) if event.kind == "checkpoint_saved"][-1]
            assert last.data["epoch"] == 30
            # A new server copies to a logger when the killed one's lease has expired.
            time.sleep(1.5 * LEASE_TTL_S)
            assert logged_steps(apart, job, "loss") == [*range(1, last.data["step"] + 1)]

    def test_a_sweep_goes_on_after_its_driver_was_killed(
        self, apart: Whole, client: FgdClient, apart_teacher: str, tmp_path: Path
    ) -> None:
        """`tuning/test_killed_drivers` compares the decisions of each searcher and scheduler, without Ray."""
        spec = swept(apart_teacher, "asha", trials=3).model_copy(update={"baselines": False})
        sweep = run_killed(client, spec, [1], random.Random())
        assert [attempt.cause for attempt in sweep.attempts] == ["lost", "succeeded"]
        decided = decisions(all_events(client, sweep.job_id))
        assert [each["trial"] for each in decided if each["kind"] == "trial_ended"] == [0, 1, 2]
        reported = [(each["trial"], each["epoch"]) for each in decided if each["kind"] == "trial_reported"]
        assert reported == sorted({*reported}), "no epoch is reported twice"
        assert_best_is_kept(apart, client, sweep, tmp_path)

    @slow(SWEEP)
    def test_a_sweep_makes_the_same_decisions_when_its_driver_is_killed(
        self, apart: Whole, client: FgdClient, apart_teacher: str, tmp_path: Path
    ) -> None:
        counts = compare(client, "asha", apart_teacher, kills=1, seed=20261122, trials=4)
        print(f"\n{counts}")
        assert counts.attempts == counts.lost_runs + 1 == 2
        for sweep in client.jobs(kind="sweep"):
            assert_best_is_kept(apart, client, client.job(sweep.job_id), tmp_path)
            if len(client.job(sweep.job_id).attempts) == 1:
                kept = [path.name for path in (apart.home / "storage/jobs" / sweep.job_id).rglob("*.pt")]
                assert "best.pt" in kept and "last.pt" not in kept, "no trial continues from a finished one"

    def test_a_chain_that_lost_its_node_goes_on_from_its_uploads(
        self, client: FgdClient, lost_chain: tuple[str, Path]
    ) -> None:
        job_id, folder = lost_chain
        finished = [event.data["stage"] for event in all_events(client, job_id) if event.kind == "stage_finished"]
        assert finished == ["1", "2", "control"]
        names = {str(path.relative_to(folder)) for path in folder.rglob("*.pt")}
        assert names == {"best.pt", "stages/1/best.pt", "stages/2/best.pt", "stages/control/best.pt"}

    @slow("tests/cluster/test_group.py::test_a_group_passes_verdicts")
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
    @slow(JOBS)
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
