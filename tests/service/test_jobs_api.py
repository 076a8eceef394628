"""Jobs over the API: submit, list, cancel, metrics, artifacts; and the health of the server."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from control_plane import ControlPlane, evaluate_spec, logged, progress, scores, train_spec
from memory_cluster import TWO_CORES, MemoryCluster
from sqlalchemy import text

from service.jobs.cluster import Capacity
from service.settings import Settings
from service.store import migrate

PROBLEM = "application/problem+json"


class TestSubmit:
    async def test_a_submitted_job_can_be_read(self, plane: ControlPlane) -> None:
        answer = await plane.http.post("/v1/jobs", json=train_spec(name="teacher"))
        assert answer.status_code == 202
        job = (await plane.http.get(answer.headers["Location"])).json()
        assert (job["name"], job["state"], job["spec"]["training"]["batch_size"]) == ("teacher", "queued", 8)
        assert [event.kind for event in await plane.events(job["job_id"])] == ["submitted"]

    async def test_repeating_an_idempotency_key_gives_the_same_job(self, plane: ControlPlane) -> None:
        answers = await asyncio.gather(
            *(plane.http.post("/v1/jobs", json=train_spec(), headers={"Idempotency-Key": "k"}) for _ in range(5))
        )
        assert [answer.status_code for answer in answers] == [202] * 5
        assert len({answer.json()["job_id"] for answer in answers}) == 1
        assert len((await plane.http.get("/v1/jobs")).json()["items"]) == 1

    async def test_an_idempotency_key_with_another_spec_is_refused(self, plane: ControlPlane) -> None:
        await plane.http.post("/v1/jobs", json=train_spec(), headers={"Idempotency-Key": "k"})
        answer = await plane.http.post("/v1/jobs", json=train_spec(seed=1), headers={"Idempotency-Key": "k"})
        assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")

    async def test_a_job_waits_for_the_job_that_it_refers_to(self, plane: ControlPlane) -> None:
        teacher = await plane.submit(train_spec())
        job = await plane.job(await plane.submit(evaluate_spec(f"job:{teacher}/best")))
        assert (job["state"], job["waits_for"], job["reason"]) == ("blocked", [teacher], f"waits for {teacher}")


class TestList:
    async def test_pages_give_every_job_once_newest_first(self, plane: ControlPlane) -> None:
        submitted = [await plane.submit(train_spec(seed=seed)) for seed in range(5)]
        found, cursor = [], None
        while True:
            params = {"limit": 2} | ({"cursor": cursor} if cursor else {})
            page = (await plane.http.get("/v1/jobs", params=params)).json()
            found.extend(item["job_id"] for item in page["items"])
            # A job submitted between two pages does not move the others.
            await plane.submit(train_spec())
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert found == submitted[::-1]

    async def test_filters_select_by_state_and_kind(self, plane: ControlPlane) -> None:
        teacher = await plane.submit(train_spec())
        blocked = await plane.submit(evaluate_spec(f"job:{teacher}/best"))
        for query, expected in (
            ("state=blocked", [blocked]),
            ("kind=train", [teacher]),
            ("state=blocked&state=queued", [blocked, teacher]),
            ("state=running", []),
        ):
            page = (await plane.http.get(f"/v1/jobs?{query}")).json()
            assert [item["job_id"] for item in page["items"]] == expected, query


class TestCancel:
    async def test_a_waiting_job_is_cancelled_at_once(self, plane: ControlPlane) -> None:
        job_id = await plane.submit(train_spec())
        answer = await plane.http.post(f"/v1/jobs/{job_id}/cancel")
        assert (answer.status_code, answer.json()["state"]) == (202, "cancelled")
        assert [event.kind for event in await plane.events(job_id)] == [
            "submitted",
            "cancel_requested",
            "state_changed",
        ]

    async def test_cancelling_a_finished_job_is_a_conflict(self, plane: ControlPlane) -> None:
        job_id = await plane.submit(train_spec())
        await plane.http.post(f"/v1/jobs/{job_id}/cancel")
        answer = await plane.http.post(f"/v1/jobs/{job_id}/cancel")
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict")

    async def test_cancelling_twice_has_the_effect_of_once(self, plane: ControlPlane) -> None:
        job_id, _ = await plane.started_job()
        for _ in range(2):
            answer = await plane.http.post(f"/v1/jobs/{job_id}/cancel")
            assert (answer.status_code, answer.json()["state"]) == (202, "cancelling")
        assert [event.kind for event in await plane.events(job_id)].count("cancel_requested") == 1


class TestMetrics:
    async def test_a_curve_is_thinned_and_keeps_its_spike(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job()
        await run.reports(logged(range(1, 101), loss=[99.0 if step == 57 else 1.0 for step in range(1, 101)]))
        page = (await plane.http.get(f"/v1/jobs/{job_id}/metrics?name=loss&max_points=10")).json()
        (curve,) = page["items"]
        assert len(curve["points"]) <= 10
        assert {"step": 57, "value": 99.0} in curve["points"]

    async def test_all_curves_by_name(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job()
        epoch = progress(5) | {"kind": "epoch_finished"}
        evaluated = {"kind": "evaluated", "epoch": 1, "step": 5, "scores": scores(0.3)}
        await run.reports(progress(5), logged([5], loss=[1.0]), epoch, evaluated)
        page = (await plane.http.get(f"/v1/jobs/{job_id}/metrics")).json()
        names = [curve["name"] for curve in page["items"]]
        assert names == ["epoch/loss", "images_per_s", "learning_rate", "loss", "val/ap", "val/ap50"]
        assert (await plane.job(job_id))["progress"]["best_ap"] == 0.3


@pytest.mark.one_database
class TestArtifacts:
    @pytest.fixture
    def settings(self, settings: Settings, stored: dict[str, Any]) -> Settings:
        return settings.model_copy(update=stored)

    async def saved(self, plane: ControlPlane, uri: str | None, media_type: str = "text/plain") -> str:
        """Save an artifact and return its URL. `uri` None: the job's own file `a b.txt`."""
        job_id, run = await plane.started_job()
        uri = uri or run.writes("attempts/1/a b.txt", b"hello")
        event = {"name": "notes.txt", "uri": uri, "media_type": media_type, "sha256": "0" * 64, "size_bytes": 5}
        await run.reports({"kind": "artifact_saved"} | event)
        (view,) = (await plane.job(job_id))["artifacts"]
        return str(view["url"])

    async def test_a_file_is_served_as_a_download_with_its_type(self, plane: ControlPlane) -> None:
        url = await self.saved(plane, None)
        answer = await plane.http.get(url)
        assert (answer.status_code, answer.text) == (200, "hello")
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert answer.headers["content-length"] == "5"
        assert answer.headers["content-disposition"] == "attachment; filename*=utf-8''a%20b.txt"

    @pytest.mark.parametrize(
        ("range_header", "status", "text", "content_range"),
        [
            ("bytes=1-2", 206, "el", "bytes 1-2/5"),
            ("bytes=1-", 206, "ello", "bytes 1-4/5"),
            ("bytes=-2", 206, "lo", "bytes 3-4/5"),
            ("bytes=0-99", 206, "hello", "bytes 0-4/5"),
            ("bytes=-99", 206, "hello", "bytes 0-4/5"),
            ("bytes=5-", 416, None, "bytes */5"),
            ("lines=1-2", 200, "hello", None),
        ],
    )
    async def test_a_range_of_a_file_is_served(
        self, plane: ControlPlane, range_header: str, status: int, text: str | None, content_range: str | None
    ) -> None:
        answer = await plane.http.get(await self.saved(plane, None), headers={"Range": range_header})
        assert (answer.status_code, answer.headers.get("content-range")) == (status, content_range)
        assert text is None or answer.text == text

    async def test_a_range_of_a_changed_file_gets_the_whole_file(self, plane: ControlPlane) -> None:
        url = await self.saved(plane, None)
        modified = (await plane.http.get(url)).headers["last-modified"]
        for if_range, status in ((modified, 206), ("Thu, 01 Jan 1970 00:00:00 GMT", 200)):
            answer = await plane.http.get(url, headers={"Range": "bytes=1-2", "If-Range": if_range})
            assert answer.status_code == status

    async def test_a_file_outside_the_jobs_folder_is_not_served(self, plane: ControlPlane, tmp_path: Path) -> None:
        (tmp_path / "secret.txt").write_text("no")
        plane.cluster.largest = Capacity((replace(TWO_CORES.nodes[0], cpus_total=9, cpus_free=9),))
        other, run = await plane.started_job()
        uris = [
            run.writes("attempts/1/secret.txt", b"no"),
            plane.storage.uri_of(f"jobs/{other}x/../{other}/attempts/1/secret.txt"),
            plane.storage.uri_of("../secret.txt"),
            (tmp_path / "secret.txt").as_uri(),
            str(tmp_path / "secret.txt"),
        ]
        for uri in uris:
            answer = await plane.http.get(await self.saved(plane, uri))
            assert (answer.status_code, answer.headers["content-type"]) == (404, PROBLEM), uri

    async def test_a_missing_file_is_named(self, plane: ControlPlane) -> None:
        url = await self.saved(plane, None)
        plane.storage.delete_folder("jobs")
        answer = await plane.http.get(url)
        assert (answer.status_code, answer.headers["content-type"]) == (404, PROBLEM)
        assert "a%20b.txt" in answer.text or "a b.txt" in answer.text

    async def test_a_media_type_with_a_line_break_adds_no_header(self, plane: ControlPlane) -> None:
        answer = await plane.http.get(await self.saved(plane, None, "text/html\r\nSet-Cookie: a=b"))
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/octet-stream"


@pytest.mark.one_database
class TestLinks:
    async def test_a_symbolic_link_out_of_the_folder_is_not_served(self, plane: ControlPlane, tmp_path: Path) -> None:
        (tmp_path / "secret.txt").write_text("no")
        job_id, run = await plane.started_job()
        link = plane.settings.storage.dir / "jobs" / job_id / "link.txt"
        link.parent.mkdir(parents=True)
        link.symlink_to(tmp_path / "secret.txt")
        await run.saves_checkpoint(link.as_uri())
        assert (await plane.http.get(f"/v1/jobs/{job_id}/artifacts/best.pt")).status_code == 404


class TestHealth:
    async def test_the_server_is_ready_without_ray(self, plane: ControlPlane, cluster: MemoryCluster) -> None:
        cluster.is_reachable = False
        answer = await plane.http.get("/readyz")
        assert answer.status_code == 200
        assert answer.json()["ready"] is True
        assert answer.json()["ray"].startswith("unreachable")
        assert answer.json()["schema_revision"] == migrate.head_revision()

    async def test_the_server_is_not_ready_without_its_schema(self, plane: ControlPlane) -> None:
        async with plane.services.database.writing() as session:
            await session.execute(text("DROP TABLE alembic_version"))
        answer = await plane.http.get("/readyz")
        needed = migrate.head_revision()
        assert (answer.status_code, answer.json()["database"]) == (503, f"at revision None; {needed} is required")

    @pytest.mark.one_database
    async def test_livez_answers(self, plane: ControlPlane) -> None:
        assert (await plane.http.get("/livez")).json() == {"live": True}
