"""The commands that show and control sweeps, against the real server."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import JsonValue
from rich.console import Console

from fgd_core.spec.event_text import values_text
from fgd_core.spec.events import RunFinished, StoredEvent
from fgd_core.spec.jobs import JOB_SPEC
from fgd_core.spec.kinds.sweep import SweepSpec
from fgd_core.spec.results import ErrorReport, Scores
from fgd_core.spec.trials import SweepProgressed, TrialEnded, TrialReported, TrialStarted
from fgd_core.spec.views import JobView
from service.client.client import FgdClient
from service.client.errors import SpecFileError
from service.client.spec_file import read_spec
from service.client.sweep_status import SweepStatus, initial_status
from service.client.trial_table import STYLES, sweep_view, trial_table
from service.client.watching import watch
from tests.client.conftest import Fgd
from tests.client.live_server import LiveServer, Run, eventually

SPEC = {
    "kind": "sweep",
    "name": "weights",
    "base": {
        "kind": "train",
        "detector": {"type": "retinanet"},
        "data": {"type": "shapes"},
        "training": {"batch_size": 8, "epochs": 3},
    },
    "space": {"training.optimizer.learning_rate": {"type": "log_uniform", "low": 0.0001, "high": 0.1}},
}
RATE = "training.optimizer.learning_rate"
NO_SCORES = Scores(**dict.fromkeys(name for name in Scores.model_fields if name != "per_class"))


def started(trial: int, rate: float) -> TrialStarted:
    return TrialStarted(trial=trial, origin="searcher", values={RATE: rate}, seed=0, epochs=3)


def reported(trial: int, epoch: int, ap: float, **others: Any) -> TrialReported:
    fields = {"trial": trial, "epoch": epoch, "objectives": [ap], "scores": NO_SCORES, "train_s": 1.0, "rung": 0}
    return TrialReported(**fields | others)


def progressed(done: int, best_trial: int, best: float) -> SweepProgressed:
    return SweepProgressed(
        running=[1], done=done, planned=5, epochs_done=3, best_trial=best_trial, best=best, eta_s=75.0
    )


@pytest.fixture
def sweep(client: FgdClient, server: LiveServer) -> tuple[JobView, Run]:
    """A sweep with a stopped trial, a better one that runs, and a failed one."""
    job = client.submit(JOB_SPEC.validate_python(SPEC))
    run = server.run_of(job.job_id)
    run.start()
    run.report(started(0, 0.01), reported(0, 1, 0.125, verdict="stop"))
    run.report(TrialEnded(trial=0, cause="stopped", epoch=1), started(1, 0.002), reported(1, 1, 0.25))
    run.report(
        started(2, 0.5), TrialEnded(trial=2, cause="failed", epoch=0, error=ErrorReport(code="x", message="NaN"))
    )
    run.report(progressed(2, 1, 0.25))
    return client.job(job.job_id), run


def shown(renderable: object, width: int = 120) -> list[str]:
    console = Console(width=width, force_terminal=False)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get().splitlines()


def status_of(client: FgdClient, job: JobView) -> SweepStatus:
    status = initial_status(job)
    assert isinstance(status, SweepStatus)
    for event in client.stored_events(job.job_id):
        status.update(event)
    return status


class TestTrials:
    def test_the_best_trial_is_first(self, fgd: Fgd, server: LiveServer, sweep: tuple[JobView, Run]) -> None:
        ended = fgd("trials", sweep[0].job_id[:8], "--server", server.url)
        rows = ended.out.splitlines()
        assert ended.exit_code == 0
        assert [row.split()[0] for row in rows[1:4]] == ["1", "0", "2"]
        assert "learning_rate 0.002" in rows[1]
        assert "1 stopped · 1 running · 1 failed" in rows[-1]

    def test_json_has_all_trials(self, fgd: Fgd, server: LiveServer, sweep: tuple[JobView, Run]) -> None:
        items = fgd("trials", sweep[0].job_id, "--json", "--server", server.url).json["items"]
        assert [item["state"] for item in items] == ["stopped", "running", "failed"]

    def test_a_job_that_is_not_a_sweep_is_refused(self, fgd: Fgd, server: LiveServer, client: FgdClient) -> None:
        job = client.submit(JOB_SPEC.validate_python({**SPEC["base"], "name": "a training"}))  # type: ignore[dict-item]
        ended = fgd("trials", job.job_id, "--server", server.url)
        assert ended.exit_code == 1
        assert "of kind 'train'" in ended.err


class TestTable:
    def test_trials_are_sorted_below_the_progress_of_the_sweep(
        self, client: FgdClient, sweep: tuple[JobView, Run]
    ) -> None:
        job, run = sweep
        status = status_of(client, job)
        head, columns, *rows = [line for line in shown(sweep_view(status, width=120, max_rows=10)) if line]
        assert head == "weights: 2/5 trials · 1 running · best ap 0.250 (trial 1) · 1:15 left"
        assert columns.split() == ["trial", "origin", "state", "epoch", "rung", "now", "ap", "values"]
        assert [row.split()[0] for row in rows] == ["1", "0", "2"]
        assert rows[0].split()[:7] == ["1", "searcher", "running", "1/3", "0", "0.250", "0.250"]
        run.report(started(3, 0.003), reported(3, 1, 0.5), reported(3, 2, 0.375), progressed(2, 3, 0.5))
        for event in client.stored_events(job.job_id)[-4:]:
            status.update(event)
        rows = [line for line in shown(sweep_view(status, width=120, max_rows=10)) if line][2:]
        # Sorted by the best score, not by the newest one.
        assert rows[0].split()[:7] == ["3", "searcher", "running", "2/3", "0", "0.375", "0.500"]

    def test_the_direction_of_the_objective_sorts_the_trials(self, client: FgdClient, server: LiveServer) -> None:
        smaller = {"objectives": [{"metric": "num_parameters", "direction": "minimize"}], "scheduler": {"type": "none"}}
        job = client.submit(JOB_SPEC.validate_python(SPEC | smaller))
        run = server.run_of(job.job_id)
        run.start()
        run.report(started(0, 0.1), reported(0, 1, 9.0), started(1, 0.2), reported(1, 1, 3.0))
        rows = [line for line in shown(sweep_view(status_of(client, job), width=120, max_rows=10)) if line]
        assert [row.split()[0] for row in rows[2:]] == ["1", "0"]

    def test_hidden_trials_are_counted(self, client: FgdClient, sweep: tuple[JobView, Run]) -> None:
        rows = [line for line in shown(sweep_view(status_of(client, sweep[0]), width=120, max_rows=2)) if line]
        assert rows[-1].split() == ["and", "1", "more"]

    @pytest.mark.parametrize("width", [72, 80, 100, 160])
    def test_many_values_hide_no_other_column(self, client: FgdClient, sweep: tuple[JobView, Run], width: int) -> None:
        status = status_of(client, sweep[0])
        values: dict[str, JsonValue] = {f"method.a_rather_long_field_{n}": 0.12345 for n in range(9)}
        trials = [trial.model_copy(update={"values": values}) for trial in status.trials]
        heading, first, *_ = shown(trial_table(trials, status.objectives, width=width), width)
        assert {"trial", "origin", "state", "epoch", "ap", "values"} <= set(heading.split())
        assert {"1", "searcher", "running", "1/3", "0.250"} <= set(first.split())

    def test_stopped_trials_are_grey(self, client: FgdClient, sweep: tuple[JobView, Run]) -> None:
        console = Console(width=120, force_terminal=True, color_system="standard")
        with console.capture() as capture:
            console.print(sweep_view(status_of(client, sweep[0]), width=120, max_rows=5))
        grey = console.get_style(STYLES["stopped"]).render("x", color_system=console._color_system).split("x")[0]
        rows = capture.get().splitlines()
        assert grey in next(row for row in rows if "stopped" in row)
        assert grey not in next(row for row in rows if "running" in row and "searcher" in row)

    def test_fields_are_shown_by_the_last_part_if_it_is_unique(self) -> None:
        assert values_text({"method.alpha": 0.00123, "training.epochs": 3}) == "alpha 0.00123 · epochs 3"
        assert values_text({"a.type": "x", "b.type": "y"}) == "a.type x · b.type y"

    def test_an_unreadable_event_changes_nothing(self, client: FgdClient, sweep: tuple[JobView, Run]) -> None:
        status = status_of(client, sweep[0])
        event = client.stored_events(sweep[0].job_id)[-1]
        before = list(status.trials)
        odd = event.model_copy(update={"kind": "trial_reported", "data": {"trial": "many"}})
        status.update(StoredEvent.model_validate(odd.model_dump()))
        assert status.trials == before


class TestWatch:
    def test_a_pipe_gets_a_line_for_each_report_and_end(
        self, client: FgdClient, sweep: tuple[JobView, Run], capsys: pytest.CaptureFixture[str]
    ) -> None:
        job, run = sweep
        run.report(RunFinished(outcome="failed", error=ErrorReport(code="data", message="enough")))
        eventually(lambda: client.job(job.job_id).state == "failed")
        watch(client, [job], Console(width=160))
        lines = capsys.readouterr().out.splitlines()
        assert any("trial 0, epoch 1: 0.125, stop" in line for line in lines)
        assert any("trial 2 failed after 0 epochs: NaN" in line for line in lines)

    def test_a_terminal_gets_the_table(self, client: FgdClient, sweep: tuple[JobView, Run]) -> None:
        job, run = sweep
        console = Console(width=120, height=40, force_terminal=True, record=True)
        watching = threading.Thread(target=watch, args=(client, [job], console))
        watching.start()
        run.succeed()
        watching.join(timeout=240)
        assert not watching.is_alive()
        text = console.export_text()
        assert "best ap 0.250 (trial 1)" in text
        # In a sweep that is over, no trial runs.
        assert "0 running" in text
        assert "lost" in text


class TestControl:
    def test_added_values_are_yaml_with_exponents(
        self, fgd: Fgd, server: LiveServer, client: FgdClient, sweep: tuple[JobView, Run]
    ) -> None:
        job_id = sweep[0].job_id
        ended = fgd("sweep", "add", job_id, f"{RATE}=1e-3", "training.batch_size=4", "--server", server.url)
        assert (ended.exit_code, ended.out) == (0, "next trial: learning_rate 0.001 · batch_size 4\n")
        assert client.stored_events(job_id)[-1].data["values"] == {RATE: 0.001, "training.batch_size": 4}
        assert fgd("sweep", "add", job_id, "nothing", "--server", server.url).exit_code == 2
        refused = fgd("sweep", "add", job_id, "training.epoch=3", "--server", server.url)
        assert "did you mean 'epochs'?" in refused.err

    def test_stop_takes_the_number_of_a_trial(
        self, fgd: Fgd, server: LiveServer, client: FgdClient, sweep: tuple[JobView, Run]
    ) -> None:
        ended = fgd("sweep", "stop", sweep[0].job_id, 1, "--server", server.url)
        assert ended.out == "asked trial 1 to stop, at epoch 1 of 3\n"
        assert client.stored_events(sweep[0].job_id)[-1].kind == "trial_stop_asked"
        assert "already stopped" in fgd("sweep", "stop", sweep[0].job_id, 0, "--server", server.url).err

    def test_a_finished_sweep_continues_after_extend(
        self, fgd: Fgd, server: LiveServer, client: FgdClient, sweep: tuple[JobView, Run]
    ) -> None:
        job, run = sweep
        run.succeed()
        eventually(lambda: client.job(job.job_id).state == "succeeded")
        ended = fgd("sweep", "extend", job.job_id, "--trials", 5, "--json", "--server", server.url)
        assert (ended.exit_code, ended.json["state"]) == (0, "queued")
        assert fgd("sweep", "extend", job.job_id, "--epochs", 5, "--server", server.url).exit_code == 1

    def test_without_a_subcommand_it_lists_sweeps(
        self, fgd: Fgd, server: LiveServer, client: FgdClient, sweep: tuple[JobView, Run]
    ) -> None:
        client.submit(JOB_SPEC.validate_python({**SPEC["base"], "name": "a training"}))  # type: ignore[dict-item]
        assert [job["name"] for job in fgd("sweep", "--json", "--server", server.url).json] == ["weights"]


class TestFork:
    def test_a_changed_space_is_submitted_with_the_id_of_its_parent(
        self, fgd: Fgd, server: LiveServer, client: FgdClient, sweep: tuple[JobView, Run]
    ) -> None:
        change = "space.training.batch_size={type: choice, values: [4, 8]}"
        wider = f"space.{RATE}.high=0.5"
        arguments = ("sweep", "fork", sweep[0].job_id[:8], "--set", change, "--set", wider, "--name", "wider")
        ended = fgd(*arguments, "--json", "--server", server.url)
        assert ended.exit_code == 0, ended.err
        spec = client.job(ended.json["job_id"]).spec
        assert isinstance(spec, SweepSpec)
        assert (spec.fork, spec.name) == (sweep[0].job_id, "wider")
        assert isinstance(spec.space, dict)
        assert {path: each.type for path, each in spec.space.items()} == {
            RATE: "log_uniform",
            "training.batch_size": "choice",
        }
        assert spec.space[RATE].model_dump()["high"] == 0.5

    def test_it_can_be_printed_and_submitted_later(
        self, fgd: Fgd, server: LiveServer, client: FgdClient, sweep: tuple[JobView, Run], tmp_path: Path
    ) -> None:
        drop = f"space.{RATE}=null"
        add = "space.data.seed={type: integers, low: 1, high: 3}"
        ended = fgd("sweep", "fork", sweep[0].job_id, "--set", drop, "--set", add, "--print", "--server", server.url)
        assert len(list(client.jobs())) == 1
        path = tmp_path / "fork.yaml"
        path.write_text(ended.out)
        assert set(yaml.safe_load(ended.out)["space"]) == {"data.seed"}
        assert fgd("submit", path, "--server", server.url).exit_code == 0


class TestSpecFile:
    def test_paths_of_the_base_are_relative_to_the_file(self, tmp_path: Path) -> None:
        split = {"images": "images", "annotations": "a.json"}
        base = {
            "kind": "train",
            "detector": {"type": "retinanet", "weights": "w.pt"},
            "data": {"type": "coco", "train": split, "val": split},
        }
        path = tmp_path / "sweep.yaml"
        path.write_text(json.dumps(SPEC | {"base": base}))
        spec = read_spec(str(path), overrides=["base.data.val.images=/other", f"space.{RATE}.low=0.001"])
        assert isinstance(spec, SweepSpec)
        found = spec.base.model_dump()
        assert found["data"]["train"]["images"] == str(tmp_path / "images")
        assert found["data"]["val"]["images"] == "/other"
        assert found["detector"]["weights"] == str(tmp_path / "w.pt")
        assert spec.dimensions()[RATE].model_dump()["low"] == 0.001

    def test_a_fault_in_the_space_has_its_line(self, tmp_path: Path) -> None:
        path = tmp_path / "sweep.yaml"
        path.write_text(yaml.safe_dump(SPEC | {"space": {RATE: {"type": "log_uniform", "low": "nothing", "high": 1}}}))
        line = next(n for n, text in enumerate(path.read_text().splitlines(), start=1) if "nothing" in text)
        with pytest.raises(SpecFileError) as refused:
            read_spec(str(path))
        reasons = refused.value.details["reasons"]
        assert isinstance(reasons, list)
        assert line in [reason["line"] for reason in reasons if isinstance(reason, dict)]

    def test_shortened_ids_of_other_sweeps_are_completed(
        self, fgd: Fgd, server: LiveServer, client: FgdClient, sweep: tuple[JobView, Run], tmp_path: Path
    ) -> None:
        path = tmp_path / "sweep.yaml"
        path.write_text(yaml.safe_dump(SPEC))
        learn = f"warm_start=[{json.dumps(sweep[0].job_id[:10])}]"
        ended = fgd("submit", path, "--set", learn, "--json", "--server", server.url)
        assert ended.json["spec"]["warm_start"] == [sweep[0].job_id]

    @pytest.mark.parametrize(
        ("change", "loc", "message"),
        [
            ({"space": {RATE: {"type": "uniform", "lo": 1, "low": 0, "high": 1}}}, f"space.{RATE}.lo", "mean 'low'?"),
            ({"space": {RATE: {"type": "unifrom", "low": 0, "high": 1}}}, f"space.{RATE}", "did you mean 'uniform'?"),
            ({"space": "fgd-wights"}, "space", "write 'fgd-weights', 'fgd-scale', 'fgd-temperature',"),
            ({"searcher": {"type": "tpee"}}, "searcher", "did you mean 'tpe'?"),
            ({"base": {**SPEC["base"], "seed": 3}}, "", "set seed on the sweep"),  # type: ignore[dict-item]
        ],
    )
    def test_each_fault_is_reported_once_with_its_field(
        self, tmp_path: Path, change: dict[str, Any], loc: str, message: str
    ) -> None:
        path = tmp_path / "sweep.yaml"
        path.write_text(yaml.safe_dump(SPEC | change))
        with pytest.raises(SpecFileError) as refused:
            read_spec(str(path))
        reasons = refused.value.details["reasons"]
        assert isinstance(reasons, list)
        assert len(reasons) == 1
        reason = reasons[0]
        assert isinstance(reason, dict)
        assert reason["loc"] == loc
        assert message in str(reason["message"])
