"""A server handles a storage that becomes unreachable, comes back, or never existed."""

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from control_plane import ControlPlane
from moto.server import ThreadedMotoServer

from service.server.app import create_app
from service.settings import Settings
from service.settings.groups import StorageSettings
from service.storage.errors import StorageRefusedError

LAST = "attempts/1/checkpoints/last.pt"


class Outage:
    """An S3 service that a test can stop and start again. Its content survives."""

    def __init__(self, url: str) -> None:
        self.port = int(url.rpartition(":")[2])
        self._server: ThreadedMotoServer | None = None
        self.end()

    def begin(self) -> None:
        assert self._server is not None
        self._server.stop()
        self._server = None

    def end(self) -> None:
        self._server = ThreadedMotoServer("127.0.0.1", self.port, verbose=False)
        self._server.start()

    def close(self) -> None:
        if self._server is not None:
            self._server.stop()


@pytest.fixture
def outage(bucket: str) -> Iterator[Outage]:
    outage = Outage("http://127.0.0.1:0")
    assert outage._server is not None
    _, outage.port = outage._server.get_host_and_port()
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{outage.port}")
        yield outage
    outage.close()


@pytest.fixture
def settings(settings: Settings, bucket: str, outage: Outage) -> Settings:
    storage = StorageSettings(dir=settings.storage.dir, url=bucket)
    return settings.model_copy(update={"storage": storage, "run_files": "through_server"})


async def put(plane: ControlPlane, run: Any, content: bytes) -> Any:
    digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
    headers = run.headers | {"Repr-Digest": f"sha-256=:{digest}:"}
    return await plane.http.put(f"/v1/attempts/{run.attempt_id}/files/{LAST}", content=content, headers=headers)


@pytest.mark.one_database
class TestUnreachable:
    async def test_requests_for_files_fail_and_work_again_after_the_outage(
        self, plane: ControlPlane, outage: Outage
    ) -> None:
        job_id, run = await plane.started_job()
        await run.saves_checkpoint((await put(plane, run, b"weights")).json()["uri"])
        outage.begin()
        file = f"/v1/attempts/{run.attempt_id}/files"
        for answer in (
            await plane.http.get(f"/v1/jobs/{job_id}/artifacts/best.pt"),
            await put(plane, run, b"newer"),
            await plane.http.get(file, headers=run.headers),
            await plane.http.get(f"{file}/{LAST}", headers=run.headers),
            await plane.http.delete(f"{file}/{LAST}", headers=run.headers),
        ):
            assert (answer.status_code, answer.json()["code"]) == (503, "storage_away"), answer.text
            assert answer.headers["Retry-After"]
            assert "does not answer" in answer.json()["detail"]
        outage.end()
        answer = await plane.http.get(f"/v1/jobs/{job_id}/artifacts/best.pt")
        assert (answer.status_code, answer.content) == (200, b"weights")

    async def test_the_server_is_degraded_but_ready(self, plane: ControlPlane, outage: Outage) -> None:
        assert (await plane.http.get("/readyz")).json()["storage"] == "ok"
        outage.begin()
        answer = await plane.http.get("/readyz")
        assert (answer.status_code, answer.json()["ready"]) == (200, True)
        assert answer.json()["storage"].startswith("unreachable: ")

    async def test_a_report_omits_its_picture(self, plane: ControlPlane, outage: Outage) -> None:
        job_id, run = await plane.started_job()
        picture = run.writes("attempts/1/samples.png", b"png")
        event = {"name": "samples.png", "uri": picture, "media_type": "image/png", "sha256": "0" * 64, "size_bytes": 3}
        await run.reports({"kind": "artifact_saved"} | event)
        with_it = (await plane.http.get(f"/v1/jobs/{job_id}/report?format=html")).text
        outage.begin()
        without = await plane.http.get(f"/v1/jobs/{job_id}/report?format=html")
        drawn = "data:image/png;base64,cG5n"
        assert drawn in with_it
        assert (without.status_code, drawn in without.text) == (200, False)


class TestJobs:
    async def test_jobs_continue_and_their_logs_are_archived_after_the_outage(
        self, plane: ControlPlane, outage: Outage
    ) -> None:
        job_id, run = await plane.started_job()
        plane.cluster.output[run.submission_id] = "what it printed\n"
        await run.succeeds()
        outage.begin()
        another = await plane.submit({"kind": "train", "name": "next", "detector": {"type": "retinanet"}} | DATA)
        for _ in range(2):
            plane.clock.forward(100)
            await plane.tick()
        assert await plane.state(another) == "starting"
        assert (await plane.job(job_id))["attempts"][0]["released_at"] is None
        assert (await plane.http.get(f"/v1/jobs/{job_id}/logs")).text == "what it printed\n"
        outage.end()
        await plane.tick()
        assert (await plane.job(job_id))["attempts"][0]["released_at"] is not None
        plane.cluster.is_reachable = False
        assert (await plane.http.get(f"/v1/jobs/{job_id}/logs")).text == "what it printed\n"

    async def test_a_job_whose_files_cannot_be_deleted_is_deleted_later(
        self, plane: ControlPlane, outage: Outage
    ) -> None:
        job_id, run = await plane.started_job()
        run.writes(LAST, b"x")
        await run.succeeds()
        await plane.tick()
        outage.begin()
        assert (await plane.http.delete(f"/v1/jobs/{job_id}")).status_code == 503
        outage.end()
        view = (await plane.http.post("/v1/housekeeping")).json()
        assert [item["kind"] for item in view["items"]] == ["unfinished_deletion"]
        assert plane.storage.listing() == []


@pytest.mark.one_database
class TestStartup:
    async def test_a_server_does_not_start_without_its_bucket(
        self, settings: Settings, plane: ControlPlane, tmp_path: Path
    ) -> None:
        storage = StorageSettings(dir=tmp_path, url="s3://nowhere")
        missing = settings.model_copy(update={"storage": storage, "home": tmp_path / "other"})
        app = create_app(missing, plane.cluster)
        with pytest.raises(StorageRefusedError, match="no bucket 'nowhere'"):
            async with app.router.lifespan_context(app):
                pass

    async def test_a_server_starts_while_its_storage_is_unreachable(
        self, settings: Settings, plane: ControlPlane, outage: Outage, tmp_path: Path
    ) -> None:
        outage.begin()
        app = create_app(settings.model_copy(update={"home": tmp_path / "other"}), plane.cluster)
        async with app.router.lifespan_context(app):
            outage.end()
            app.state.services.storage.write("jobs/a/x", b"x")


DATA = {"data": {"type": "shapes", "num_train": 40, "num_val": 10}, "training": {"batch_size": 8}}
