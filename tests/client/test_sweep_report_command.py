"""`fgd report` of a sweep."""

import csv
import io
from pathlib import Path

import pytest
import yaml

from fgd_core.spec.dimensions import LogUniform
from fgd_core.spec.jobs import JOB_SPEC
from fgd_core.spec.kinds.sweep import SweepSpec
from fgd_core.spec.sweep_report import SweepReport
from service.client.client import FgdClient
from tests.client.conftest import Fgd
from tests.client.live_server import LiveServer
from tests.reports.recorded_jobs import STUDENT, train_spec
from tests.reports.recorded_sweeps import Study

RATE = "training.optimizer.learning_rate"


def a_sweep() -> SweepSpec:
    space = {RATE: LogUniform(low=1e-4, high=1e-1)}
    return SweepSpec(kind="sweep", name="rates", base=train_spec("student", STUDENT), space=space, baselines=False)


@pytest.fixture
def job_id(server: LiveServer, client: FgdClient) -> str:
    """A sweep with two finished trials."""
    job_id = client.submit(a_sweep()).job_id
    run = server.run_of(job_id)
    run.start()
    study = Study(epochs=2)
    study.run(0, [0.1, 0.2], {RATE: 0.001})
    study.run(1, [0.2, 0.3], {RATE: 0.004})
    run.report(*study.reported)
    return job_id


def test_it_recommends_values(fgd: Fgd, server: LiveServer, job_id: str) -> None:
    ended = fgd("report", job_id, "--server", server.url)
    assert ended.exit_code == 0
    assert f"Use the values of trial 1 ({RATE} = 0.004)" in " ".join(ended.out.split())
    assert "spent: 2 trials, 4 epochs" in ended.out


def test_it_is_written_in_every_format(fgd: Fgd, server: LiveServer, job_id: str, tmp_path: Path) -> None:
    page, table, spec = tmp_path / "sweep.html", tmp_path / "sweep.csv", tmp_path / "best.yaml"
    ended = fgd(
        *("report", job_id, "--html", page, "--csv", table, "--spec", spec, "--server", server.url, "--json"),
    )
    assert SweepReport.model_validate(ended.json).standings[0].trial == 1
    assert page.read_text().startswith("<!doctype html>")
    assert [row[f"value/{RATE}"] for row in csv.DictReader(io.StringIO(table.read_text()))] == ["0.001", "0.004"]
    winner = JOB_SPEC.validate_python(yaml.safe_load(spec.read_text()))
    assert (winner.kind, winner.training.optimizer.learning_rate) == ("train", 0.004)


def test_a_sweep_without_scores_has_no_best_spec(
    fgd: Fgd, server: LiveServer, client: FgdClient, tmp_path: Path
) -> None:
    job_id = client.submit(a_sweep()).job_id
    ended = fgd("report", job_id, "--spec", tmp_path / "best.yaml", "--server", server.url)
    assert ended.exit_code == 1
    assert "no best job yet" in " ".join(ended.err.split())


def test_a_job_that_is_not_a_sweep_has_no_best_spec(
    fgd: Fgd, server: LiveServer, client: FgdClient, tmp_path: Path
) -> None:
    job_id = client.submit(train_spec("one", STUDENT)).job_id
    ended = fgd("report", job_id, "--spec", tmp_path / "best.yaml", "--server", server.url)
    assert ended.exit_code == 1
    assert "no best spec" in " ".join(ended.err.split())
