"""`fgd` as a person and as a program use it, against the real server."""

import csv
import importlib.metadata
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from fgd_core.spec.chains import TeachersOrdered
from fgd_core.spec.event_state import status_now
from fgd_core.spec.events import DeviceReady, EpochFinished, Progress, RunFinished, StoredEvent
from fgd_core.spec.kinds.chain import ChainSpec, Stage
from fgd_core.spec.kinds.teacher import Teacher
from fgd_core.spec.methods import FitNet, Mixed, Pkd
from fgd_core.spec.results import ErrorReport
from service.client import following
from service.client.cli import COMMANDS, HINTS, load
from service.client.client import FgdClient
from service.client.overview import table
from service.client.predicting import Predictions
from service.server.control_plane import alone_in
from tests.client.conftest import Fgd
from tests.client.live_server import LiveServer, eventually
from tests.reports.recorded_jobs import PLAN, STUDENT, distill_spec, train_spec
from tests.tiers import slow


@pytest.fixture
def spec_path(tmp_path: Path) -> Path:
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(train_spec("student", STUDENT).model_dump(mode="json")))
    return path


def failed(message: str) -> RunFinished:
    return RunFinished(outcome="failed", error=ErrorReport(code="data", message=message))


def epoch(number: int) -> EpochFinished:
    return EpochFinished(
        epoch=number,
        epochs=2,
        step=50 * number,
        steps=100,
        images_per_s=118.0,
        eta_s=75.0,
        learning_rate=1e-3,
        values={"loss": 1.25},
    )


def progress(step: int) -> Progress:
    return Progress(
        epoch=1,
        epochs=2,
        step=step,
        steps=100,
        images_per_s=118.0,
        eta_s=75.0,
        learning_rate=1e-3,
        values={"loss": 1.25},
    )


class TestHelp:
    def test_it_loads_no_command(self) -> None:
        heavy = "pydantic", "httpx", "uvicorn", "sqlalchemy", "yaml"
        code = f"""
import sys
from service.client.cli import group
try: group().main(["--help"], prog_name="fgd")
except SystemExit as end: assert end.code == 0
assert not [name for name in {heavy} if name in sys.modules]
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert all(name in done.stdout for name in COMMANDS)

    @pytest.mark.parametrize("name", COMMANDS)
    def test_each_command_shows_an_example_and_accepts_json(self, name: str, fgd: Fgd) -> None:
        for command in ([name], *([name, each] for each in getattr(load(name), "commands", ()))):
            ended = fgd(*command, "--help")
            assert ended.exit_code == 0
            assert f"fgd {' '.join(command)}" in ended.out.partition("Example")[2]
            assert "--json" in ended.out

    @pytest.mark.parametrize("name", COMMANDS)
    def test_the_function_has_the_commands_name(self, name: str) -> None:
        assert load(name).name == name

    def test_a_misspelt_command_gets_a_suggestion(self, fgd: Fgd) -> None:
        ended = fgd("wacht")
        assert ended.exit_code == 2
        assert "watch" in ended.err

    @pytest.mark.parametrize(
        ("typed", "found"),
        [
            ("status", "fgd jobs"),
            ("list", "fgd jobs"),
            ("train", "fgd submit"),
            ("ui", "/docs"),
            ("detect", "fgd predict MODEL IMAGES"),
            ("start", "fgd up"),
            ("tune", "kind: sweep"),
        ],
    )
    def test_a_command_of_another_tool_gets_a_hint(self, typed: str, found: str, fgd: Fgd) -> None:
        ended = fgd(typed)
        assert ended.exit_code == 2
        assert found in " ".join(ended.err.replace("│", "").split())

    def test_hints_name_existing_commands_and_hide_none(self) -> None:
        assert not HINTS.keys() & COMMANDS.keys()
        for hint in HINTS.values():
            assert set(re.findall(r"`fgd ([a-z]+)", hint)) <= COMMANDS.keys()

    @pytest.mark.parametrize("command", [(), ("submit",), ("tokens", "create")])
    def test_h_is_the_short_option(self, command: tuple[str, ...], fgd: Fgd) -> None:
        assert fgd(*command, "-h") == fgd(*command, "--help")

    @pytest.mark.parametrize("option", ["--version", "-V"])
    def test_the_version_is_the_installed_one(self, option: str, fgd: Fgd) -> None:
        assert fgd(option).out == f"fgd {importlib.metadata.version('fgd')}\n"


class TestCompletion:
    """What a shell completes."""

    def completed(self, words: str) -> list[str]:
        variables = {"_FGD_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        command = [sys.executable, "-m", "service.client.cli"]
        done = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, check=False)
        return done.stdout.split()

    @pytest.mark.parametrize(
        ("words", "expected"),
        [("fgd wa", ["watch"]), ("fgd tokens cr", ["create"]), ("fgd submit --se", ["--set", "--server"])],
    )
    def test_commands_and_options_are_offered(self, words: str, expected: list[str]) -> None:
        assert self.completed(words) == expected

    def test_the_script_for_the_calling_shell_is_shown(self) -> None:
        # fgd asks its parents which shell it serves; with a second command bash stays its parent.
        command = f"'{sys.executable}' -m service.client.cli --show-completion; exit $?"
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
        assert "_FGD_COMPLETE" in done.stdout


class TestSubmit:
    def test_a_job_is_submitted_with_changes(self, fgd: Fgd, server: LiveServer, spec_path: Path) -> None:
        ended = fgd(
            "submit", spec_path, "--set", "training.epochs=3", "--name", "mine", "--server", server.url, "--json"
        )
        assert ended.exit_code == 0
        assert (ended.json["name"], ended.json["spec"]["training"]["epochs"]) == ("mine", 3)

    def test_a_typo_is_refused_and_nothing_is_submitted(
        self, fgd: Fgd, server: LiveServer, client: FgdClient, spec_path: Path
    ) -> None:
        ended = fgd("submit", spec_path, "--set", "training.epoch=3", "--server", server.url)
        assert ended.exit_code == 2
        assert "training.epoch" in ended.err
        assert "did you mean 'epochs'?" in ended.err
        assert list(client.jobs()) == []

    def test_with_json_an_error_is_a_document(self, fgd: Fgd, spec_path: Path) -> None:
        ended = fgd("submit", spec_path, "--set", "seed=-1", "--json")
        assert ended.exit_code == 2
        assert ended.json["error"]["details"]["reasons"][0]["loc"] == "seed"

    def test_a_refusal_of_the_server_shows_every_reason(self, fgd: Fgd, server: LiveServer, spec_path: Path) -> None:
        ended = fgd("submit", spec_path, "--set", "resources={cpus: 99, gpus: 1}", "--server", server.url)
        assert ended.exit_code == 1
        assert "resources.cpus" in ended.err
        assert "resources.gpus" in ended.err

    def test_a_shortened_job_id_in_a_reference_is_completed(
        self, fgd: Fgd, server: LiveServer, spec_path: Path
    ) -> None:
        first = fgd("submit", spec_path, "--server", server.url, "--json").json["job_id"]
        again = fgd(
            "submit", spec_path, "--set", f"detector.weights=job:{first[:7]}/best", "--server", server.url, "--json"
        )
        assert again.json["waits_for"] == [first]
        assert again.json["spec"]["detector"]["weights"] == f"job:{first}/best"

    def test_without_a_server_the_exit_code_is_3_with_the_cure(self, fgd: Fgd, spec_path: Path) -> None:
        ended = fgd("submit", spec_path, "--server", "http://127.0.0.1:9")
        assert ended.exit_code == 3
        assert "http://127.0.0.1:9" in ended.err
        assert "fgd up" in ended.err
        assert "Traceback" not in ended.err


class TestJobs:
    def test_the_list_can_be_filtered_by_state(self, fgd: Fgd, server: LiveServer, spec_path: Path) -> None:
        job_id = fgd("submit", spec_path, "--server", server.url, "--json").json["job_id"]
        server.run_of(job_id).start()
        assert [job["job_id"] for job in fgd("jobs", "--state", "running", "--server", server.url, "--json").json] == [
            job_id
        ]
        assert fgd("jobs", "--state", "failed", "--server", server.url, "--json").json == []
        assert job_id in fgd("jobs", "--server", server.url).out

    def test_they_are_sorted_by_a_column(self, fgd: Fgd, server: LiveServer, spec_path: Path) -> None:
        for name in ("sorted b", "sorted a"):
            fgd("submit", spec_path, "--name", name, "--server", server.url)
        found = fgd("jobs", "sorted", "--sort", "-name", "--server", server.url, "--json").json
        assert [job["name"] for job in found] == ["sorted b", "sorted a"]
        ended = fgd("jobs", "--sort", "-ap", "--server", server.url)
        assert (ended.exit_code, "'-ap' is not a column" in ended.err) == (2, True)

    def test_an_unknown_state_is_refused_with_the_known_ones(self, fgd: Fgd, server: LiveServer) -> None:
        ended = fgd("jobs", "--state", "runing", "--server", server.url)
        assert ended.exit_code == 2
        assert "running" in ended.err

    def test_a_shown_spec_can_be_submitted_again(self, fgd: Fgd, server: LiveServer, spec_path: Path) -> None:
        job_id = fgd("submit", spec_path, "--server", server.url, "--json").json["job_id"]
        shown = fgd("show", job_id, "--server", server.url).out
        assert yaml.safe_load(shown[shown.index("name: ") :]) == yaml.safe_load(spec_path.read_text())

    def test_the_methods_of_a_distillation_are_shown_with_what_each_weighs(
        self, fgd: Fgd, server: LiveServer, client: FgdClient
    ) -> None:
        spec = distill_spec("distilled", "nobody")
        teachers = [Teacher(checkpoint="FasterRCNN_ResNet50_FPN_Weights.COCO_V1", weight=each) for each in (1, 3)]
        method = Mixed(scale=0.5, parts={"maps": Pkd(scale=0.1), "idle": FitNet(scale=0)})
        changed = {"teacher": teachers[0], "more_teachers": tuple(teachers[1:]), "method": method}
        job_id = client.submit(spec.model_copy(update=changed)).job_id
        shown = fgd("show", job_id, "--server", server.url).out
        rows = [line.split()[1:] for line in shown.splitlines() if "(pkd)" in line or "(fitnet)" in line]
        maps, idle = ["maps", "(pkd)", "0.05", "pearson", "10"], ["idle", "(fitnet)", "0", "nothing"]
        assert rows == [["25%", *maps], ["25%", *idle], ["75%", *maps], ["75%", *idle]]

    def test_the_methods_of_a_chain_are_shown_in_the_order_of_its_stages(
        self, fgd: Fgd, server: LiveServer, client: FgdClient
    ) -> None:
        base = distill_spec("chain", "nobody")
        teacher = Teacher(checkpoint="FasterRCNN_ResNet50_FPN_Weights.COCO_V1")
        chain = ChainSpec(
            name="chain",
            student=base.student,
            stages=(Stage(teacher=teacher), Stage(teacher=teacher, method=Pkd())),
            order="adaptation_cost",
            method=FitNet(),
            data=base.data,
        )
        job_id = client.submit(chain).job_id

        def stages() -> list[list[str]]:
            lines = fgd("show", job_id, "--server", server.url).out.splitlines()
            return [[line.split()[0], name] for line in lines for name in ("pkd", "fitnet") if f" {name}  " in line]

        assert stages() == [["?", "fitnet"], ["?", "pkd"]]
        run = server.run_of(job_id)
        run.start()
        run.report(TeachersOrdered(by="adaptation_cost", order=[1, 0], teachers=["a", "b"], costs=[[0, 1], [1, 0]]))
        assert stages() == [["1", "pkd"], ["2", "fitnet"]]

    def test_a_study_shows_its_runs_and_a_run_its_study(
        self, fgd: Fgd, server: LiveServer, client: FgdClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "study.yaml"
        base = distill_spec("base", "nobody").model_dump(mode="json", exclude={"name", "seed"})
        teacher = {"checkpoint": "FasterRCNN_ResNet50_FPN_Weights.COCO_V1"}
        question = {"type": "gain", "num_seeds": 2, "arms": ["plain", "both"]}
        path.write_text(
            yaml.safe_dump({"kind": "study", "name": "helps", "base": base | {"teacher": teacher}, "study": question})
        )
        said = fgd("submit", path, "--server", server.url).out
        assert "is blocked, waits for its 4 runs" in said
        study_id = re.findall(r"helps (\w+)", said)[0]
        shown = fgd("show", study_id, "--server", server.url).out
        runs = re.findall(r"(plain|both), seed ([01]): (?:queued|starting) (\w+)", shown)
        assert [run[:2] for run in runs] == [("plain", "0"), ("both", "0"), ("plain", "1"), ("both", "1")]
        assert f"study helps {study_id}, arm both" in fgd("show", runs[1][2], "--server", server.url).out
        listed = fgd("jobs", "--parent", study_id[:8], "--server", server.url, "--json").json
        assert {job["job_id"] for job in listed} == {job_id for _, _, job_id in runs}
        report = fgd("report", study_id, "--server", server.url).out
        assert "helps is blocked: it answers once all its runs have ended" in report
        for _, _, run_id in runs[:2]:
            run = server.run_of(run_id)
            run.start()
            run.succeed()
            client.wait(run_id)
        status = status_now(client.job(study_id))
        Predictions(client).count_runs([status])
        assert (status.fraction, status.progress.eta_s) == (0.5, pytest.approx(0, abs=30))
        row = Console(width=120).render_lines(table([status], width=120, height=20))[-2]
        assert re.search(r"blocked +0:\d\d", "".join(cell.text for cell in row))
        monkeypatch.setattr(following, "_SILENCE_S", 0.01)
        piped = Console(file=io.StringIO())

        def silent(**_: object) -> Iterator[StoredEvent]:
            eventually(lambda: "runs" in piped.file.getvalue())  # type: ignore[attr-defined]
            yield from ()

        following.follow(client, {study_id: status}, [silent], piped, view=str, as_json=False)
        (line,) = piped.file.getvalue().splitlines()  # type: ignore[attr-defined]
        assert re.fullmatch(r"\d\d:\d\d:\d\d  helps +2/4 runs, 0:\d\d left", line)

    def test_the_cause_of_a_failure_is_shown_once_per_job_and_attempt(
        self, fgd: Fgd, server: LiveServer, spec_path: Path
    ) -> None:
        job_id = fgd("submit", spec_path, "--server", server.url, "--json").json["job_id"]
        run = server.run_of(job_id)
        run.start()
        run.report(failed("the data set has no boxes"))
        facts, _, attempts = fgd("show", job_id, "--server", server.url).out.partition("attempt  ")
        assert [facts.count("no boxes"), attempts.count("no boxes")] == [1, 1]

    def test_a_wrong_id_cancels_no_job(self, fgd: Fgd, server: LiveServer, client: FgdClient, spec_path: Path) -> None:
        job_id = fgd("submit", spec_path, "--server", server.url, "--json").json["job_id"]
        run = server.run_of(job_id)
        run.start()
        ended = fgd("cancel", job_id, "nobody", "--server", server.url)
        assert ended.exit_code == 1
        assert client.job(job_id).state == "running"
        assert fgd("cancel", job_id, "--server", server.url).exit_code == 0
        assert client.job(job_id).state == "cancelling"


class TestWatch:
    def test_a_pipe_gets_a_line_for_each_important_event(self, fgd: Fgd, server: LiveServer, spec_path: Path) -> None:
        job_id = fgd("submit", spec_path, "--server", server.url, "--json").json["job_id"]
        run = server.run_of(job_id)
        run.start()
        run.report(epoch(1), epoch(2))
        run.succeed()
        ended = fgd("watch", job_id, "--server", server.url)
        assert ended.exit_code == 0
        assert "epoch 2/2  loss 1.25  118 images/s  1:15 left" in ended.out
        assert ended.out.rstrip().endswith("succeeded")

    def test_a_pipe_gets_progress_before_the_first_epoch_ends(
        self, fgd: Fgd, server: LiveServer, spec_path: Path
    ) -> None:
        job_id = fgd("submit", spec_path, "--server", server.url, "--json").json["job_id"]
        run = server.run_of(job_id)
        run.start()
        run.report(DeviceReady(device="cpu", threads=2, precision="float32", versions={}))
        run.report(*(progress(step) for step in (1, 2, 3)))
        run.succeed()
        text = fgd("watch", job_id, "--server", server.url).out
        assert text.index("loading PyTorch") < text.index("on cpu, ") < text.index("step 1/100")
        assert "epoch 1/2, step 1/100  118 images/s  1:15 left" in text
        # The three came at once; only the first one gets a line.
        assert text.count("step ") == 1

    def test_the_distillation_plan_is_shown_by_watch_and_show(
        self, fgd: Fgd, server: LiveServer, client: FgdClient
    ) -> None:
        teacher = Teacher(checkpoint="FasterRCNN_ResNet50_FPN_Weights.COCO_V1")
        spec = distill_spec("distilled", "nobody").model_copy(update={"teacher": teacher})
        job_id = client.submit(spec).job_id
        assert "P3" not in fgd("show", job_id, "--server", server.url).out
        run = server.run_of(job_id)
        run.start()
        run.report(PLAN)
        run.succeed()
        watched, shown = (fgd(command, job_id, "--server", server.url).out for command in ("watch", "show"))
        for fact in (
            "distils P3 (stride 8, 64 → 256 channels by a 1x1 convolution) from FasterRcnn into RetinaNet with fgd",
            "leaves out the teacher's P6 (stride 64): it only subsamples the level below",
            "inherits neck: 9 of 16 keys, not backbone.fpn.inner_blocks.0.0.weight,",
        ):
            assert fact in " ".join(watched.split()) and fact in " ".join(shown.split())

    def test_a_failed_job_gives_exit_code_1_and_its_cause(self, fgd: Fgd, server: LiveServer, spec_path: Path) -> None:
        job_id = fgd("submit", spec_path, "--server", server.url, "--json").json["job_id"]
        run = server.run_of(job_id)
        run.start()
        run.report(failed("the data set has no boxes"))
        ended = fgd("watch", job_id, "--server", server.url)
        assert ended.exit_code == 1
        assert "the data set has no boxes" in ended.out

    def test_json_has_every_event_of_every_job_on_a_line(self, fgd: Fgd, server: LiveServer, spec_path: Path) -> None:
        job_ids = [fgd("submit", spec_path, "--server", server.url, "--json").json["job_id"] for _ in range(2)]
        for job_id in job_ids:
            run = server.run_of(job_id)
            run.start()
            run.succeed()
        events = [
            json.loads(line) for line in fgd("watch", *job_ids, "--server", server.url, "--json").out.splitlines()
        ]
        for job_id in job_ids:
            sequences = [event["sequence"] for event in events if event["job_id"] == job_id]
            assert sequences == list(range(1, len(sequences) + 1))
            assert len(sequences) > 3


class TestReport:
    def test_every_format_shows_jobs_side_by_side(
        self, fgd: Fgd, server: LiveServer, spec_path: Path, tmp_path: Path
    ) -> None:
        ids = [
            fgd("submit", spec_path, "--name", name, "--server", server.url, "--json").json["job_id"]
            for name in ("one", "other")
        ]
        page, table = tmp_path / "report.html", tmp_path / "report.csv"
        ended = fgd("report", ids[0], "--with", ids[1], "--html", page, "--csv", table, "--server", server.url)
        assert ended.exit_code == 0
        assert "one" in ended.out
        assert "other" in ended.out
        assert page.read_text().startswith("<!doctype html>")
        assert [row["name"] for row in csv.DictReader(io.StringIO(table.read_text()))] == ["one", "other"]
        out = tmp_path / "report.json"
        beside = fgd("report", ids[0], "--with", ids[1], "--out", out, "--server", server.url, "--json")
        assert [[job["job_id"] for job in found["jobs"]] for found in (beside.json, json.loads(out.read_text()))] == [
            ids,
            ids,
        ]
        assert f"written: {out}" in beside.err

    def test_a_file_that_cannot_be_written_is_named(
        self, fgd: Fgd, server: LiveServer, spec_path: Path, tmp_path: Path
    ) -> None:
        job_id = fgd("submit", spec_path, "--server", server.url, "--json").json["job_id"]
        for out in (tmp_path / "no" / "report.html", tmp_path / "folder.csv"):
            (tmp_path / "folder.csv").mkdir(exist_ok=True)
            ended = fgd("report", job_id, "--out", out, "--server", server.url)
            assert ended.exit_code == 1
            assert f"cannot write {out}" in " ".join(ended.err.split())
        ended = fgd("report", job_id, "--out", tmp_path, "--server", server.url)
        assert ended.exit_code == 2
        assert ".html, .csv, .json" in ended.err


class TestUp:
    def test_a_used_port_is_named_with_the_cure(self, fgd: Fgd, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            ended = fgd("up", "--home", tmp_path / "home", "--port", port)
        assert ended.exit_code == 2
        assert str(port) in ended.err
        assert "--port" in ended.err

    def test_a_second_server_in_the_same_home_is_refused(self, fgd: Fgd, tmp_path: Path) -> None:
        with alone_in(tmp_path):
            ended = fgd("up", "--home", tmp_path, "--port", 0)
        assert ended.exit_code == 2
        assert str(tmp_path) in ended.err
        assert "--home" in ended.err

    def test_a_public_host_is_refused_while_no_token_exists(self, fgd: Fgd, tmp_path: Path) -> None:
        ended = fgd("up", "--home", tmp_path, "--host", "0.0.0.0", "--port", 0)
        assert ended.exit_code == 1
        assert "FGD_ADMIN_TOKEN" in ended.err

    def test_an_unknown_kind_of_database_is_refused_without_its_password(self, fgd: Fgd, tmp_path: Path) -> None:
        ended = fgd("up", "--home", tmp_path, "--database-url", "mysql://root:hunter2@db/fgd")
        assert ended.exit_code == 2
        assert "postgresql://" in ended.err
        assert "hunter2" not in ended.err

    def test_without_a_terminal_the_log_is_json_on_standard_error(self, tmp_path: Path) -> None:
        arguments = ["--home", str(tmp_path), "--port", "0", "--ray-address", "http://127.0.0.1:9", "--json"]
        child = subprocess.Popen(
            [sys.executable, "-m", "service.client.cli", "up", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        assert json.loads(child.stdout.readline())["log_file"] is None
        child.terminate()
        _, text = child.communicate(timeout=240)
        assert child.returncode == 0, text
        events = [json.loads(line)["event"] for line in text.splitlines()]
        assert events[0] == "preparing the database"

    @pytest.mark.parametrize(
        "ending", ["SIGTERM", pytest.param("SIGINT", marks=slow("tests/client/test_demo.py")), "stdin closes"]
    )
    def test_it_serves_until_a_signal_or_the_end_of_stdin(self, tmp_path: Path, ending: str) -> None:
        # No Ray answers at this address; the server starts without it. Another test starts a local Ray.
        arguments = ["--home", str(tmp_path), "--port", "0", "--ray-address", "http://127.0.0.1:9", "--json"]
        child = subprocess.Popen(
            [sys.executable, "-m", "service.client.cli", "up", *arguments, "--until-stdin-closes"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert child.stdin is not None
        assert child.stdout is not None
        at = json.loads(child.stdout.readline())
        with FgdClient(at["url"]) as client:
            assert client.ready().database == "ok"
        if ending == "stdin closes":
            child.stdin.close()
        else:
            child.send_signal(signal.Signals[ending])
        assert child.wait(timeout=240) == 0
        child.stdout.close()
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", int(at["url"].rpartition(":")[2]))) != 0
