"""Loggers copy runs and curves: each point once, in order, also over kills; the real readers read them back."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from control_plane import ControlPlane, ManualClock, Run, logged, progress, train_spec
from memory_cluster import MemoryCluster
from sqlalchemy import delete
from sweeps import begun, ended, sweep_spec, trial_event
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fgd_core.errors import FgdError
from fgd_core.spec.events import MetricsLogged, Progress
from service.loggers import copying
from service.loggers.base import LoggerAwayError, LoggerError, Update
from service.loggers.choosing import logger_of
from service.loggers.copying import Copier
from service.settings import Settings
from service.settings.loggers import LoggerTarget
from service.store import logger_progress
from service.store.tables import LoggerPosition
from tests.client.live_server import LiveServer, eventually
from tests.conftest import REPOSITORY

MLFLOW = REPOSITORY / "build" / "mlflow" / "bin" / "mlflow"


class Recorder:
    """A destination in memory, which can be away or refuse a job."""

    def __init__(self) -> None:
        self.updates: list[Update] = []
        self.error: FgdError | None = None

    def write(self, update: Update) -> None:
        if self.error is not None:
            raise self.error
        self.updates.append(update)

    def close(self) -> None:
        return

    def points(self, curve: str, trial: str = "") -> list[tuple[int, float]]:
        """All points in the order in which they came."""
        return [
            point
            for update in self.updates
            if update.run.trial == trial
            for each in update.curves
            if each.curve == curve
            for point in zip(each.steps, each.values, strict=True)
        ]


def copier(plane: ControlPlane, logger: Any, target: LoggerTarget | None = None) -> Copier:
    named = target or LoggerTarget("tensorboard", "/recorded")
    return Copier(named, logger, plane.services.database, plane.settings, plane.clock)


async def copied(of: Copier) -> None:
    while await of.run_once():
        pass


async def trained(plane: ControlPlane, *, num_steps: int = 20) -> tuple[str, Run]:
    """A job that has reported a loss of step / 8 for each of its steps."""
    job_id, run = await plane.started_job()
    steps = range(1, num_steps + 1)
    await run.reports(logged(steps, loss=[step / 8 for step in steps]), progress(num_steps))
    return job_id, run


def progressed(step: int) -> Progress:
    where = {"epoch": 1, "epochs": 1, "step": step, "steps": 9}
    return Progress(**where, images_per_s=1.0, eta_s=None, learning_rate=0.1, values={})


async def swept(plane: ControlPlane) -> str:
    """A sweep of two trials that has ended."""
    job_id, run = await plane.started_job(sweep_spec())
    for trial in (1, 2):
        steps = trial_event(trial, logged([1, 2], loss=[trial / 2, trial / 4]))
        await run.reports(begun(trial), steps, ended(trial))
    await run.succeeds()
    return job_id


class TestCopying:
    async def test_each_point_is_copied_once_and_the_end_of_the_run_last(
        self, plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(copying, "POINTS_AT_ONCE", 7)
        recorder = Recorder()
        copies = copier(plane, recorder)
        job_id, run = await trained(plane)
        await copied(copies)
        await run.reports(logged([21, 22], loss=[5.0, 6.0]), progress(22))
        await run.succeeds()
        await copied(copies)
        await copied(copies)
        assert recorder.points("loss") == [*((step, step / 8) for step in range(1, 21)), (21, 5.0), (22, 6.0)]
        assert {update.run.job_id for update in recorder.updates} == {job_id}
        assert recorder.updates[0].run.spec["detector"] == recorder.updates[-1].run.spec["detector"]
        assert (recorder.updates[0].run.state, recorder.updates[-1].run.state) == ("running", "succeeded")

    async def test_a_killed_server_continues_where_it_stopped_and_a_new_logger_begins_with_the_oldest_job(
        self, plane: ControlPlane, settings: Settings, cluster: MemoryCluster, clock: ManualClock
    ) -> None:
        first = Recorder()
        _, run = await trained(plane)
        await copied(copier(plane, first))
        # Killed: it releases no lease. The next one waits until the lease expires.
        again = ControlPlane(settings, cluster, clock)
        second, late = Recorder(), Recorder()
        await run.reports(logged([21], loss=[5.0]), progress(21))
        await copied(copier(again, second))
        assert second.updates == []
        await again.lease_expires(f"logger-{LoggerTarget('tensorboard', '/recorded').key}")
        await copied(copier(again, second))
        await copied(copier(again, late, LoggerTarget("tensorboard", "/later")))
        await again.close()
        assert second.points("loss") == [(21, 5.0)]
        assert late.points("loss") == first.points("loss") + second.points("loss")

    async def test_a_destination_that_is_away_gets_everything_later(self, plane: ControlPlane) -> None:
        recorder = Recorder()
        copies = copier(plane, recorder)
        await trained(plane)
        recorder.error = LoggerAwayError("away")
        with pytest.raises(LoggerAwayError):
            await copied(copies)
        recorder.error = None
        await copied(copies)
        assert len(recorder.points("loss")) == 20

    async def test_points_that_are_sent_again_have_the_same_time_after_more_events_too(
        self, plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        recorder = Recorder()
        _, run = await trained(plane)

        async def killed(*_: object) -> None:
            raise LoggerAwayError("killed before the position was stored")

        with monkeypatch.context() as patched, pytest.raises(LoggerAwayError):
            patched.setattr(logger_progress, "save_copied", killed)
            await copied(copier(plane, recorder))
        plane.clock.forward(60)
        await run.reports(logged([21], loss=[5.0]), progress(21))
        await plane.lease_expires(f"logger-{LoggerTarget('tensorboard', '/recorded').key}")
        await copied(copier(plane, recorder))
        times = [update.at for update in recorder.updates if update.curves]
        assert len(times) == 2 and times[0] == times[1]

    async def test_a_refused_run_stops_no_other(self, plane: ControlPlane) -> None:
        recorder = Recorder()
        copies = copier(plane, recorder)
        await trained(plane)
        recorder.error = LoggerError("a name that it does not like")
        await copied(copies)
        recorder.error = None
        second, _ = await trained(plane)
        await copied(copies)
        assert {update.run.job_id for update in recorder.updates} == {second}

    async def test_events_that_are_read_again_bring_no_point_again(self, plane: ControlPlane) -> None:
        recorder = Recorder()
        copies = copier(plane, recorder)
        await trained(plane)
        await copied(copies)
        # As after a restored backup, which contains no positions.
        async with plane.services.database.writing() as session:
            await session.execute(delete(LoggerPosition))
        await copied(copies)
        assert len(recorder.points("loss")) == 20

    async def test_each_trial_of_a_sweep_is_a_run_that_ends_with_the_sweep(self, plane: ControlPlane) -> None:
        recorder = Recorder()
        job_id = await swept(plane)
        await copied(copier(plane, recorder))
        ended = {update.run.trial for update in recorder.updates if update.run.state == "succeeded"}
        assert {"", "1", "2"} <= ended
        assert recorder.points("loss", trial="2") == [(1, 1.0), (2, 0.5)]
        assert {update.run.job_id for update in recorder.updates} == {job_id}

    async def test_a_deleted_job_takes_its_cursors_along(self, plane: ControlPlane) -> None:
        job_id, run = await trained(plane)
        await run.succeeds()
        await plane.tick()
        await copied(copier(plane, Recorder()))
        assert (await plane.http.delete(f"/v1/jobs/{job_id}")).status_code in (202, 204)


@pytest.mark.one_database
class TestTensorBoard:
    async def test_the_files_hold_the_curves_and_the_spec(self, plane: ControlPlane, tmp_path: Path) -> None:
        target = LoggerTarget("tensorboard", str(tmp_path / "logs"))
        job_id, run = await trained(plane)
        for _ in range(2):  # Two starts of the server: two files.
            logger = logger_of(target, plane.settings)
            copies = copier(plane, logger, target)
            await copied(copies)
            await copies.close()
            await run.reports(logged([21, 22], loss=[5.0, 6.0]), progress(22))
        folder = tmp_path / "logs" / "default" / f"a-training-{job_id}"
        assert len([*folder.iterdir()]) == 2
        read = EventAccumulator(str(folder), size_guidance={"scalars": 0})
        read.Reload()
        scalars = [(each.step, each.value) for each in read.Scalars("loss")]
        assert scalars == [*((step, step / 8) for step in range(1, 21)), (21, 5.0), (22, 6.0)]
        assert {"learning_rate", "images_per_s"} <= {*read.Tags()["scalars"]}
        (described,) = read.Tensors("spec/text_summary")
        assert b"type: retinanet" in described.tensor_proto.string_val[0]


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of MLflow's real server."""
    if not MLFLOW.is_file():
        pytest.skip(f"no MLflow at {MLFLOW}; `make {MLFLOW.parents[1].relative_to(REPOSITORY)}/.ready` installs it")
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [MLFLOW, "server", "--workers", "1", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", folder / "files"]
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + 300
        while not _answers(url):
            assert process.poll() is None and time.monotonic() < until, (folder / "log").read_text()
            time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait(30)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health").is_success
    except httpx.HTTPError:
        return False


def runs_in(mlflow: str, job_id: str) -> list[dict[str, Any]]:
    """What MLflow has of a job; the tags and parameters as dicts."""
    api = httpx.Client(base_url=f"{mlflow}/api/2.0/mlflow/")
    named = api.get("experiments/get-by-name", params={"experiment_name": "fgd/default"}).json()
    body = {"experiment_ids": [named["experiment"]["experiment_id"]], "filter": f"tags.`fgd.job_id` = '{job_id}'"}
    return [
        run["info"] | {name: {each["key"]: each["value"] for each in run["data"][name]} for name in ("tags", "params")}
        for run in api.post("runs/search", json=body).json()["runs"]
    ]


def history_in(mlflow: str, run_id: str, curve: str) -> list[tuple[int, float]]:
    query: dict[str, Any] = {"run_id": run_id, "metric_key": curve, "max_results": 2000}
    found = httpx.get(f"{mlflow}/api/2.0/mlflow/metrics/get-history", params=query).json()["metrics"]
    return [(each["step"], each["value"]) for each in found]


@pytest.mark.one_database
class TestMlflow:
    async def test_a_run_of_the_server_has_the_curves_the_spec_and_the_end(
        self, plane: ControlPlane, mlflow: str
    ) -> None:
        target = LoggerTarget("mlflow", mlflow)
        job_id, run = await trained(plane, num_steps=1200)
        first, second = (copier(plane, logger_of(target, plane.settings), target) for _ in range(2))
        await copied(first)
        await first.close()
        await run.reports(logged([1201], loss=[5.0]), progress(1201))
        await run.succeeds()
        await copied(second)
        await second.close()
        (found,) = runs_in(mlflow, job_id)
        points = [*((step, step / 8) for step in range(1, 1201)), (1201, 5.0)]
        assert history_in(mlflow, found["run_id"], "loss") == points
        assert (found["run_name"], found["status"]) == ("a training", "FINISHED")
        assert found["params"]["detector.type"] == "retinanet"
        assert found["params"]["training.batch_size"] == "8"

    async def test_a_curve_whose_name_is_refused_keeps_no_other_out(self, plane: ControlPlane, mlflow: str) -> None:
        target = LoggerTarget("mlflow", mlflow)
        job_id, run = await plane.started_job()
        await run.reports(logged([1, 2], **{"a|b": [1.0, 2.0], "loss": [3.0, 4.0]}))
        await run.succeeds()
        copies = copier(plane, logger_of(target, plane.settings), target)
        await copied(copies)
        await copies.close()
        (found,) = runs_in(mlflow, job_id)
        assert history_in(mlflow, found["run_id"], "loss") == [(1, 3.0), (2, 4.0)]
        assert found["status"] == "FINISHED"

    async def test_each_trial_is_a_child_of_its_sweep(self, plane: ControlPlane, mlflow: str) -> None:
        target = LoggerTarget("mlflow", mlflow)
        job_id = await swept(plane)
        copies = copier(plane, logger_of(target, plane.settings), target)
        await copied(copies)
        await copies.close()
        found = runs_in(mlflow, job_id)
        (parent,) = (run["run_id"] for run in found if not run["tags"].get("fgd.trial"))
        children = [run for run in found if run["tags"].get("fgd.trial")]
        assert {run["tags"]["mlflow.parentRunId"] for run in children} == {parent}
        assert {run["tags"]["fgd.trial"] for run in children} == {"1", "2"}

    def test_a_server_that_is_away_is_named(self, plane: ControlPlane) -> None:
        logger = logger_of(LoggerTarget("mlflow", "http://127.0.0.1:9"), plane.settings)
        with pytest.raises(LoggerAwayError, match=r"127\.0\.0\.1 does not answer"):
            logger._request("GET", "experiments/get-by-name")  # type: ignore[attr-defined]


@pytest.mark.one_database
def test_a_missing_package_is_named_with_its_cure(plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(LoggerError, match=r"wandb is not installed; run `pip install wandb`"):
        logger_of(LoggerTarget("wandb", "lab"), plane.settings)


@pytest.mark.one_database
def test_a_server_copies_by_itself_and_continues_after_a_restart(tmp_path: Path) -> None:
    server = LiveServer(tmp_path / "home")
    target = LoggerTarget("tensorboard", str(tmp_path / "logs"))
    server.settings = server.settings.model_copy(update={"loggers": (target,)})

    def steps() -> list[int]:
        folder = tmp_path / "logs" / "default" / f"a-training-{job_id}"
        read = EventAccumulator(str(folder), size_guidance={"scalars": 0})
        if folder.exists():
            read.Reload()
        return [each.step for each in read.Scalars("loss")] if "loss" in read.Tags()["scalars"] else []

    server.start()
    job_id = httpx.post(f"{server.url}/v1/jobs", json=train_spec()).json()["job_id"]
    run = server.run_of(job_id)
    run.start()
    run.report(MetricsLogged(steps=[1, 2], values={"loss": [3.0, 2.0]}), progressed(2))
    eventually(lambda: steps() == [1, 2])
    server.stop()
    server.start()
    run.report(MetricsLogged(steps=[3], values={"loss": [1.0]}), progressed(3))
    eventually(lambda: steps() == [1, 2, 3])
    server.stop()
