"""The script and the notebook of `examples` against a real server, and the tables that a notebook shows."""

import ast
import contextlib
import io
import json
import runpy
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from fgd_core.spec.events import CheckpointSaved, EpochFinished, Evaluated, RunFinished
from fgd_core.spec.results import RunResult
from service.client.client import FgdClient
from service.client.errors import SpecFileError
from service.client.job_requests import JobList
from tests.client.live_server import LiveServer
from tests.reports.recorded_jobs import STUDENT, demo_jobs, report_on, scores, train_spec

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture
def working(server: LiveServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveServer]:
    """A server whose jobs all succeed at once; FGD_SERVER names it."""
    monkeypatch.setenv("FGD_SERVER", server.url)
    monkeypatch.delenv("FGD_TOKEN", raising=False)
    is_over = threading.Event()
    working = threading.Thread(target=_work, args=(server, is_over), daemon=True)
    working.start()
    yield server
    is_over.set()
    working.join(timeout=240)


def _work(server: LiveServer, is_over: threading.Event) -> None:
    done: set[str] = set()
    while not is_over.wait(0.02):
        for submission in list(server.cluster.submissions):
            job_id = submission.submission_id.split("-")[1]
            if job_id not in done:
                done.add(job_id)
                _run(server, job_id)


def _run(server: LiveServer, job_id: str) -> None:
    run = server.run_of(job_id)
    run.start()
    best = server.settings.storage.dir / "jobs" / job_id / "best.pt"
    best.parent.mkdir(parents=True, exist_ok=True)
    best.write_bytes(b"weights")
    found = scores(0.25)
    run.report(
        EpochFinished(
            epoch=1, epochs=2, step=1, steps=2, images_per_s=9.0, eta_s=1.0, learning_rate=1e-3, values={"loss": 1.25}
        ),
        Evaluated(epoch=1, step=1, scores=found),
        CheckpointSaved(name="best", uri=best.as_uri(), sha256="0" * 64, size_bytes=7, epoch=1, step=1, ap=0.25),
        RunFinished(
            outcome="succeeded",
            result=RunResult(scores=found, num_parameters=1234, images_per_s=9.0, num_images=32, device="cpu"),
        ),
    )


class TestScript:
    def test_it_writes_a_report(
        self,
        working: LiveServer,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.chdir(tmp_path)
        runpy.run_path(str(EXAMPLES / "python_client.py"), run_name="__main__")
        text = capsys.readouterr().out
        assert text.count("epoch 1 of 2: loss 1.25") == 2
        assert "student from python: AP 0.250" in text
        assert "<html" in (tmp_path / "report.html").read_text()


class TestNotebook:
    def test_every_cell_runs_and_shows_tables(self, working: LiveServer) -> None:
        shown = "".join(_cells_shown(_notebook()))
        for words in ("FgdClient", "teacher from a notebook", "student from a notebook", "succeeded", "0.250"):
            assert words in shown
        assert "did you mean 'epochs'?" in shown

    def test_it_is_stored_without_outputs(self) -> None:
        notebook = _notebook()
        assert notebook["nbformat"] == 4
        assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code":
                assert (cell["outputs"], cell["execution_count"]) == ([], None)

    def test_the_readme_lists_script_and_notebook(self) -> None:
        table = (EXAMPLES / "README.md").read_text()
        assert "python_client.py" in table and "python_client.ipynb" in table


def _notebook() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((EXAMPLES / "python_client.ipynb").read_text())
    return loaded


def _cells_shown(notebook: dict[str, Any]) -> Iterator[str]:
    """Yield what each cell prints, and its last expression as Jupyter shows it."""
    names: dict[str, Any] = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        *statements, last = ast.parse("".join(cell["source"])).body
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(ast.Module([*statements], []), "cell", "exec"), names)
            if isinstance(last, ast.Expr):
                value = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
            else:
                value = exec(compile(ast.Module([last], []), "cell", "exec"), names)
        yield printed.getvalue()
        if value is not None:
            yield value._repr_html_() if hasattr(value, "_repr_html_") else repr(value)


class TestSubmitDict:
    def test_a_dict_becomes_the_job_that_it_describes(self, client: FgdClient) -> None:
        spec = train_spec("a dict", STUDENT)
        assert client.submit(spec.model_dump(mode="json")).spec == spec

    def test_a_fault_is_raised_before_any_request(self, client: FgdClient) -> None:
        spec = train_spec("a dict", STUDENT).model_dump(mode="json")
        spec["training"]["epoch"] = 3
        with pytest.raises(SpecFileError) as refusal:
            client.submit(spec)
        (reason,) = refusal.value.details["reasons"]  # type: ignore[misc]
        assert reason["loc"] == "training.epoch"  # type: ignore[index,call-overload]
        assert list(client.jobs()) == []

    def test_its_paths_become_absolute_in_a_copy(
        self, client: FgdClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "best.pt").touch()
        spec = {"kind": "evaluate", "name": "e", "checkpoint": "best.pt", "data": {"type": "shapes"}}
        assert client.submit(spec).model_dump()["spec"]["checkpoint"] == str(tmp_path / "best.pt")
        assert spec["checkpoint"] == "best.pt"


class _Texts(HTMLParser):
    """Collects the texts and the tags of a piece of HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.tags: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


class TestNotebookTables:
    EVIL = "<script>alert(1)</script> & co"

    def test_text_of_users_is_escaped(self) -> None:
        job = demo_jobs()[0].job.model_copy(update={"name": self.EVIL, "reason": self.EVIL})
        reports = report_on(*demo_jobs())
        reports = reports.model_copy(update={"jobs": [reports.jobs[0].model_copy(update={"name": self.EVIL})]})
        for shown in (job, JobList([job]), reports):
            read = _Texts(shown._repr_html_())
            assert read.tags <= {"table", "tr", "th", "td", "p"}
            assert any(self.EVIL in text for text in read.texts)

    def test_a_report_has_its_scores(self) -> None:
        texts = _Texts(report_on(*demo_jobs())._repr_html_()).texts
        assert {"job", "AP", "AP50", "images/s", "0.690", "0.500", "0.620"} <= set(texts)

    def test_the_client_shows_its_server_and_not_its_token(self) -> None:
        assert repr(FgdClient("http://127.0.0.1:9", token="fgd_secret")) == "FgdClient('http://127.0.0.1:9')"
