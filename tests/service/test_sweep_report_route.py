"""GET /v1/jobs/{id}/report of a sweep, whose events are reported as by a driver."""

import csv
import io
from typing import Any

import pytest
import yaml
from control_plane import ControlPlane, Run, train_spec
from sweeps import begun, ended, reported, sweep_spec

from fgd_core.spec.charts import ReportCharts
from fgd_core.spec.jobs import JOB_SPEC
from fgd_core.spec.sweep_report import SweepReport

pytestmark = pytest.mark.one_database

RATE = "training.optimizer.learning_rate"


@pytest.fixture
async def sweep(plane: ControlPlane) -> tuple[str, Run]:
    """A sweep of two trials: one is finished, one is running."""
    job_id, run = await plane.started_job(sweep_spec(baselines=False))
    await run.reports(
        begun(0, rate=0.01),
        *(reported(0, epoch, 0.1 * epoch) for epoch in (1, 2, 3)),
        ended(0, checkpoint="file:///storage/best.pt"),
        begun(1, rate=0.05),
        reported(1, 1, 0.05),
    )
    return job_id, run


async def report_as(plane: ControlPlane, job_id: str, form: str) -> Any:
    answer = await plane.http.get(f"/v1/jobs/{job_id}/report", params={"format": form})
    assert answer.status_code == 200, answer.text
    return answer


async def test_it_shows_the_progress_of_a_running_sweep(plane: ControlPlane, sweep: tuple[str, Run]) -> None:
    report = SweepReport.model_validate_json((await report_as(plane, sweep[0], "json")).text)
    assert (report.is_over, report.standings[0].trial) == (False, 0)
    assert [(trial.state, trial.epoch) for trial in report.trials] == [("completed", 3), ("running", 1)]
    assert report.verdict[0].startswith("So far: Use the values of trial 0")
    assert (report.spent.epochs, report.spent.attempts) == (4, 1)


async def test_the_recommended_spec_can_be_submitted(plane: ControlPlane, sweep: tuple[str, Run]) -> None:
    spec = (await report_as(plane, sweep[0], "json")).json()["recommendation"]["spec"]
    assert spec["training"]["optimizer"]["learning_rate"] == 0.01
    JOB_SPEC.validate_python(spec)
    job = await plane.job(await plane.submit(spec))
    assert (job["kind"], job["name"]) == ("train", "a sweep trial 0")


async def test_the_page_is_one_file_with_the_winning_spec(plane: ControlPlane, sweep: tuple[str, Run]) -> None:
    answer = await report_as(plane, sweep[0], "html")
    assert answer.headers["content-type"].startswith("text/html")
    assert "The sweep is not over" in answer.text
    _, _, behind = answer.text.partition('<pre id="best-spec" class="panel" tabindex="0">')
    assert yaml.safe_load(behind.partition("</pre>")[0])["training"]["optimizer"]["learning_rate"] == 0.01


async def test_the_table_has_a_row_for_each_trial(plane: ControlPlane, sweep: tuple[str, Run]) -> None:
    answer = await report_as(plane, sweep[0], "csv")
    assert answer.headers["content-disposition"] == f'attachment; filename="report-{sweep[0]}.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [(row["trial"], row[f"value/{RATE}"], row["state"]) for row in rows] == [
        ("0", "0.01", "completed"),
        ("1", "0.05", "running"),
    ]


async def test_the_charts_of_the_page_come_as_json(plane: ControlPlane, sweep: tuple[str, Run]) -> None:
    found = ReportCharts.model_validate_json((await report_as(plane, sweep[0], "charts")).text)
    curves = next(chart for chart in found.charts if chart.name == "curves")
    assert [trace["y"] for trace in curves.figure["data"]] == [[0.05], [0.1, 0.2, pytest.approx(0.3)]]
    assert found.labels[0].startswith("trial 0, searcher, completed after 3 of 3 epochs\n")


async def test_it_is_made_again_only_after_a_change(plane: ControlPlane, sweep: tuple[str, Run]) -> None:
    job_id, run = sweep
    first = await report_as(plane, job_id, "json")
    plane.clock.forward(60)
    assert (await report_as(plane, job_id, "json")).text == first.text
    await run.reports(reported(1, 2, 0.4))
    later = SweepReport.model_validate_json((await report_as(plane, job_id, "json")).text)
    assert later.trials[1].objectives == [0.4]
    listed = (await plane.http.get(f"/v1/jobs/{job_id}/trials")).json()["items"]
    assert [trial["objectives"] for trial in listed] == [trial.objectives for trial in later.trials]


async def test_a_sweep_that_has_not_started_has_a_report(plane: ControlPlane) -> None:
    job_id = await plane.submit(sweep_spec())
    report = (await report_as(plane, job_id, "json")).json()
    assert (report["trials"], report["standings"], report["recommendation"]) == ([], [], None)
    assert (await report_as(plane, job_id, "csv")).text.splitlines() == ["trial"]
    assert "no trial has started" in (await report_as(plane, job_id, "html")).text


@pytest.mark.parametrize("is_first", [True, False])
async def test_it_cannot_be_combined_with_other_jobs(
    plane: ControlPlane, sweep: tuple[str, Run], is_first: bool
) -> None:
    other = await plane.submit(train_spec())
    first, second = (sweep[0], other) if is_first else (other, sweep[0])
    answer = await plane.http.get(f"/v1/jobs/{first}/report", params={"with": second})
    assert (answer.status_code, answer.json()["code"]) == (422, "spec")
    assert "cannot show other jobs" in answer.json()["detail"]


async def test_findings_leave_the_trials_out(plane: ControlPlane, sweep: tuple[str, Run]) -> None:
    answer = await plane.http.get(f"/v1/jobs/{sweep[0]}/report", params={"trials": False})
    report = SweepReport.model_validate_json(answer.text)
    assert (report.trials, report.standings[0].trial) == ([], 0)
    assert report.dimensions[RATE].type == "log_uniform"
    assert report.ranking == [each.trials for each in report.standings] and len(report.ranking) > 1


async def test_a_request_limits_the_standings_and_learns_the_whole_ranking(
    plane: ControlPlane, sweep: tuple[str, Run]
) -> None:
    path = f"/v1/jobs/{sweep[0]}/report"
    every = SweepReport.model_validate_json((await plane.http.get(path)).text)
    few = SweepReport.model_validate_json((await plane.http.get(path, params={"standings": 1})).text)
    assert (few.standings, few.ranking, few.trials) == (every.standings[:1], every.ranking, every.trials)
