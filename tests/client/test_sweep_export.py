"""`fgd sweep export`: what Optuna, its dashboard and readers of Ray Tune's tables find in a sweep."""

import csv
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import httpx
import optuna
import optuna_dashboard
import pytest
from optuna.trial import TrialState

from fgd_core.spec.jobs import JOB_SPEC
from fgd_core.spec.results import ErrorReport, RunResult
from fgd_core.spec.trials import TrialEnded, TrialReported, TrialStarted
from fgd_core.spec.views import JobView
from service.client.client import FgdClient
from tests.client.conftest import Fgd
from tests.client.live_server import LiveServer, Run
from tests.client.test_sweep_commands import NO_SCORES, SPEC, reported

RATE, SIZE, MILESTONES = "training.optimizer.learning_rate", "training.batch_size", "training.schedule.milestones"
SPACE = {
    RATE: {"type": "log_uniform", "low": 0.0001, "high": 0.1},
    SIZE: {"type": "integers", "low": 2, "high": 8},
    MILESTONES: {"type": "choice", "values": [[0.5], [0.6, 0.9]]},
}
TWO = {
    "objectives": [{"metric": "ap"}, {"metric": "num_parameters", "direction": "minimize"}],
    "scheduler": {"type": "none"},
}


def started(trial: int, rate: float, **others: Any) -> TrialStarted:
    values = {RATE: rate, SIZE: 4, MILESTONES: [0.6, 0.9]}
    return TrialStarted(trial=trial, origin="searcher", values=values | others, seed=0, epochs=3)


def completed(trial: int, *objectives: float) -> TrialEnded:
    result = RunResult(scores=NO_SCORES, num_parameters=5, images_per_s=1.0, num_images=1, device="cpu")
    return TrialEnded(trial=trial, cause="completed", epoch=3, result=result, objectives=list(objectives))


def submitted(client: FgdClient, server: LiveServer, **settings: Any) -> tuple[JobView, Run]:
    job = client.submit(JOB_SPEC.validate_python(SPEC | {"space": SPACE} | settings))
    run = server.run_of(job.job_id)
    run.start()
    return job, run


@pytest.fixture
def sweep(client: FgdClient, server: LiveServer) -> JobView:
    """A sweep with a trial of each state."""
    job, run = submitted(client, server)
    reports: list[TrialReported] = [reported(0, epoch, 0.125 * epoch, train_s=2.0 * epoch) for epoch in (1, 2, 3)]
    run.report(started(0, 0.01), *reports, completed(0, 0.375))
    run.report(started(1, 0.02), reported(1, 1, 0.05, verdict="stop"), TrialEnded(trial=1, cause="stopped", epoch=1))
    error = ErrorReport(code="data", message="no images")
    run.report(started(2, 0.5), TrialEnded(trial=2, cause="failed", epoch=0, error=error))
    run.report(started(3, 0.03), reported(3, 1, 0.2))
    return client.job(job.job_id)


@contextmanager
def dashboard(file: Path) -> Iterator[httpx.Client]:
    """Serve a file of Optuna with optuna-dashboard."""

    class Silent(WSGIRequestHandler):
        def log_message(self, *parts: Any) -> None:
            return

    server = make_server("127.0.0.1", 0, optuna_dashboard.wsgi(f"sqlite:///{file}"), handler_class=Silent)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{server.server_port}", timeout=60) as http:
            yield http
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class TestOptuna:
    def test_optuna_reads_every_trial_as_it_is(
        self, fgd: Fgd, server: LiveServer, sweep: JobView, tmp_path: Path
    ) -> None:
        file = tmp_path / "studies.db"
        ended = fgd("sweep", "export", sweep.job_id[:8], "--optuna", str(file), "--server", server.url)
        assert (ended.exit_code, ended.out) == (0, f"written: {file}\n")
        study = optuna.load_study(study_name=f"weights ({sweep.job_id})", storage=f"sqlite:///{file}")
        assert [trial.state for trial in study.trials] == [
            *(TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING)
        ]
        best = study.best_trial
        assert (best.number, best.value) == (0, 0.375)
        assert best.params == {RATE: 0.01, SIZE: 4, MILESTONES: "[0.6, 0.9]"}
        assert best.intermediate_values == {1: 0.125, 2: 0.25, 3: 0.375}
        assert json.loads(study.trials[2].user_attrs["error"])["message"] == "no images"
        # Its learning rate is outside of the space, as a user may choose it; Optuna would refuse it as a parameter.
        assert study.trials[2].params.keys() == {SIZE, MILESTONES}
        assert json.loads(study.trials[2].user_attrs["values"])[RATE] == 0.5
        # A sampler of Optuna can continue the study.
        study.sampler = optuna.samplers.TPESampler(n_startup_trials=1, seed=0)
        assert study.ask(study.trials[0].distributions).params.keys() == best.params.keys()

    def test_its_dashboard_shows_the_study(
        self, fgd: Fgd, server: LiveServer, client: FgdClient, sweep: JobView, tmp_path: Path
    ) -> None:
        file = tmp_path / "studies.db"
        two, run = submitted(client, server, **TWO)
        run.report(started(0, 0.01), reported(0, 1, 0.1, objectives=[0.1, 5.0]), completed(0, 0.1, 5.0))
        for job_id in (sweep.job_id, two.job_id):
            assert fgd("sweep", "export", job_id, "--optuna", str(file), "--server", server.url).exit_code == 0
        # A second export of a sweep replaces the first.
        assert fgd("sweep", "export", sweep.job_id, "--optuna", str(file), "--server", server.url).exit_code == 0
        with dashboard(file) as http:
            found = {study["study_name"]: study for study in http.get("/api/studies").json()["study_summaries"]}
            assert len(found) == 2
            of_two = found[f"weights ({two.job_id})"]
            assert of_two["directions"] == ["maximize", "minimize"]
            shown = http.get(f"/api/studies/{found[f'weights ({sweep.job_id})']['study_id']}").json()
        states = [trial["state"] for trial in shown["trials"]]
        assert states == ["Complete", "Pruned", "Fail", "Running"]
        assert shown["trials"][0]["values"] == [0.375]
        assert [each["step"] for each in shown["trials"][0]["intermediate_values"]] == [1, 2, 3]
        assert shown["objective_names"] == ["ap"]

    def test_a_file_of_something_else_is_refused_and_kept(
        self, fgd: Fgd, server: LiveServer, sweep: JobView, tmp_path: Path
    ) -> None:
        file = tmp_path / "notes.txt"
        file.write_text("dear diary, " * 100)
        ended = fgd("sweep", "export", sweep.job_id, "--optuna", str(file), "--server", server.url)
        assert ended.exit_code == 1
        assert f"cannot write a study to {file}" in ended.err and "name a new file" in ended.err
        assert file.read_text() == "dear diary, " * 100


class TestCsv:
    def test_it_has_a_row_per_trial_with_the_columns_of_ray_tune(
        self, fgd: Fgd, server: LiveServer, sweep: JobView, tmp_path: Path
    ) -> None:
        file = tmp_path / "trials.csv"
        assert fgd("sweep", "export", sweep.job_id, "--csv", str(file), "--server", server.url).exit_code == 0
        rows = list(csv.DictReader(file.open(newline="")))
        assert list(rows[0])[:8] == [
            *("ap", "timestamp", "done", "training_iteration", "trial_id", "date", "time_this_iter_s", "time_total_s")
        ]
        first = rows[0]
        assert (first["trial_id"], first["training_iteration"], first["done"]) == (f"{sweep.job_id}_00000", "3", "True")
        assert (float(first["ap"]), first["time_this_iter_s"], first["time_total_s"]) == (
            0.375,
            "2.0",
            "6.0",
        )
        assert (first[f"config/{RATE}"], first[f"config/{MILESTONES}"]) == ("0.01", "[0.6, 0.9]")
        assert [(row["state"], row["done"], row["ap"]) for row in rows[1:]] == [
            *(("stopped", "True", "0.05"), ("failed", "True", ""), ("running", "False", "0.2"))
        ]

    def test_a_sweep_without_trials_is_a_header(self, client: FgdClient, server: LiveServer) -> None:
        job, _ = submitted(client, server)
        assert client.sweeps.trials_csv(job.job_id) == b"trial_id\r\n"


def test_an_export_without_a_file_is_refused(fgd: Fgd, server: LiveServer, sweep: JobView) -> None:
    ended = fgd("sweep", "export", sweep.job_id, "--server", server.url)
    assert ended.exit_code == 2
    assert "name a file with --optuna or --csv" in ended.err
