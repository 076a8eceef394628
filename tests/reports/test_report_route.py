"""GET /v1/jobs/{id}/report over the real server."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from fgd_core.spec.base import Fact
from fgd_core.spec.events import RUN_EVENT, ArtifactSaved, MetricsLogged, Progress
from fgd_core.spec.report import Report
from fgd_core.spec.worst_images import WORST_IMAGES
from service.client.client import FgdClient
from tests.client.live_server import LiveServer
from tests.reports.recorded_jobs import STUDENT, recorded, train_spec, worst_images
from tests.reports.test_report_page import PICTURE, a_png

CONTROL = ("submitted", "state_changed", "attempt_started")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LiveServer]:
    server = LiveServer(tmp_path / "home")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def job_id(server: LiveServer) -> str:
    """A successful job, reported to the server event by event, with a picture of its detections."""
    spec = train_spec("student", STUDENT, epochs=3)
    with FgdClient(server.url) as client:
        job_id = client.submit(spec).job_id
    picture = server.settings.storage.dir / "jobs" / job_id / "samples.png"
    picture.parent.mkdir(parents=True)
    picture.write_bytes(a_png())
    digest = hashlib.sha256(a_png()).hexdigest()
    saved = ArtifactSaved(
        name="samples.png", uri=picture.as_uri(), media_type="image/png", sha256=digest, size_bytes=len(a_png())
    )
    events: list[Fact] = [
        saved if event.kind == "artifact_saved" else RUN_EVENT.validate_python(event.data)
        for event in recorded("x", spec, ap=0.5).events
        if event.kind not in CONTROL
    ]
    progress = [event for event in events if isinstance(event, Progress)]
    losses: list[float | None] = [event.values["loss"] for event in progress]
    points = MetricsLogged(steps=[event.step for event in progress], values={"loss": losses})
    content = worst_images().model_dump_json().encode()
    (picture.parent / WORST_IMAGES).write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    where = {"uri": (picture.parent / WORST_IMAGES).as_uri(), "media_type": "application/json"}
    events.insert(-1, ArtifactSaved(name=WORST_IMAGES, sha256=digest, size_bytes=len(content), **where))
    server.run_of(job_id).report(*events[:-1], points, events[-1])
    return job_id


class TestRoute:
    def test_json_holds_scores_epochs_and_curves(self, server: LiveServer, job_id: str) -> None:
        report = Report.model_validate_json(httpx.get(f"{server.url}/v1/jobs/{job_id}/report").content)
        (job,) = report.jobs
        assert job.result is not None
        assert job.result.scores.ap == 0.5
        assert len(job.epochs) == 3
        assert len(job.curves["loss"]) == 3

    def test_html_contains_the_picture(self, server: LiveServer, job_id: str) -> None:
        answer = httpx.get(f"{server.url}/v1/jobs/{job_id}/report", headers={"Accept": "text/html,*/*;q=0.8"})
        assert answer.headers["content-type"].startswith("text/html")
        assert answer.text.count(PICTURE) == 1

    def test_a_picture_outside_the_storage_folder_is_left_out(self, server: LiveServer, tmp_path: Path) -> None:
        with FgdClient(server.url) as client:
            job_id = client.submit(train_spec("student", STUDENT)).job_id
        (tmp_path / "secret.png").write_bytes(a_png())
        run = server.run_of(job_id)
        run.start()
        uri = (tmp_path / "secret.png").as_uri()
        run.report(
            ArtifactSaved(name="samples.png", uri=uri, media_type="image/png", sha256="0" * 64, size_bytes=len(a_png()))
        )
        page = httpx.get(f"{server.url}/v1/jobs/{job_id}/report", params={"format": "html"}).text
        assert "<h1>student</h1>" in page
        assert PICTURE not in page

    def test_the_page_shows_the_worst_images(self, server: LiveServer, job_id: str) -> None:
        page = httpx.get(f"{server.url}/v1/jobs/{job_id}/report", params={"format": "html"}).text
        assert "Worst images of student" in page
        assert "0007.jpg" in page

    def test_format_takes_precedence_over_accept(self, server: LiveServer, job_id: str) -> None:
        answer = httpx.get(
            f"{server.url}/v1/jobs/{job_id}/report", params={"format": "csv"}, headers={"Accept": "text/html"}
        )
        assert answer.headers["content-type"].startswith("text/csv")

    def test_its_charts_come_as_json(self, server: LiveServer, job_id: str) -> None:
        found = httpx.get(f"{server.url}/v1/jobs/{job_id}/report", params={"format": "charts"}).json()["charts"]
        assert {chart["name"]: chart["alt"] for chart in found}["ap-over-epochs"] == "AP over epochs"

    def test_a_job_named_twice_is_shown_once(self, server: LiveServer, job_id: str) -> None:
        answer = httpx.get(f"{server.url}/v1/jobs/{job_id}/report", params={"with": [job_id, job_id]})
        assert [job["job_id"] for job in answer.json()["jobs"]] == [job_id]

    @pytest.mark.parametrize("path", ["nobody/report", "{job_id}/report?with=nobody"])
    def test_an_unknown_job_is_named_in_the_problem(self, server: LiveServer, job_id: str, path: str) -> None:
        answer = httpx.get(f"{server.url}/v1/jobs/{path.format(job_id=job_id)}")
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"
        assert "nobody" in answer.json()["detail"]

    def test_an_unknown_format_is_refused(self, server: LiveServer, job_id: str) -> None:
        assert httpx.get(f"{server.url}/v1/jobs/{job_id}/report?format=pdf").status_code == 422
