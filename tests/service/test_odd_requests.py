"""Unusual requests that have one right answer."""

import json
import re
from typing import Any

import pytest
from control_plane import SHAPES, ControlPlane, ManualClock, train_spec
from served import served_by

LONE = "\ud800"


@pytest.mark.one_database
class TestHead:
    async def test_head_answers_as_get_without_the_body(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job()
        artifact = {"name": "report.txt", "media_type": "text/plain", "sha256": "0" * 64, "size_bytes": 5}
        uri = run.writes("attempts/1/report.txt", b"words")
        await run.reports({"kind": "artifact_saved", "uri": uri} | artifact)
        await plane.http.post("/v1/datasets", json={"name": "blood", "data": SHAPES})
        ids = {"job_id": job_id, "dataset": "blood", "name": "report.txt", "trial": "0"}
        num_paths = 0
        for described, operations in plane.app.openapi()["paths"].items():
            if "get" not in operations or described.startswith(("/ray", "/v1/attempts")):
                continue
            path = re.sub(r"\{([^}]+)\}", lambda found: ids.get(found[1], "none"), described)
            headers = {"Accept": "application/json"}
            get, head = [await plane.http.request(method, path, headers=headers) for method in ("GET", "HEAD")]
            assert (head.status_code, head.content) == (get.status_code, b""), path
            assert head.headers["Content-Type"] == get.headers["Content-Type"], path
            num_paths += 1
        assert num_paths > 20

    async def test_head_of_a_stream_ends_at_once(self, plane: ControlPlane) -> None:
        job_id, _ = await plane.started_job()
        async with served_by(plane) as served:
            for path in (f"/v1/jobs/{job_id}/events", "/v1/events", f"/v1/jobs/{job_id}/logs?follow=true"):
                head = await served.client.head(path, headers={"Accept": "text/event-stream"})
                assert (head.status_code, head.headers["Content-Type"].partition(";")[0]) == (200, "text/event-stream")
            await served.has_readers(0)


class TestTimes:
    async def test_a_time_without_a_zone_is_in_utc(
        self, plane: ControlPlane, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TZ", "Pacific/Auckland")
        await plane.submit(train_spec())
        hour = clock.now.replace(minute=0, second=0, microsecond=0, tzinfo=None).isoformat()
        found = [
            len((await plane.http.get("/v1/jobs", params={name: hour})).json()["items"])
            for name in ("created_after", "created_before")
        ]
        assert found == [1, 0]

    @pytest.mark.parametrize(
        ("value", "status"),
        [
            ("0001-01-01T00:00:00+14:00", 422),
            ("9999-12-31T23:59:59-14:00", 422),
            ("0001-01-01T00:00:00", 200),
            ("9999-12-31T23:59:59Z", 200),
            ("1e400", 422),
            ("99999999999999999999", 422),
        ],
    )
    async def test_times_at_the_ends_of_the_calendar_cause_no_server_error(
        self, plane: ControlPlane, value: str, status: int
    ) -> None:
        for name in ("created_after", "created_before"):
            assert (await plane.http.get("/v1/jobs", params={name: value})).status_code == status


@pytest.mark.one_database
class TestArtifacts:
    @pytest.mark.parametrize(
        "name", ["a\nb.txt", "a\x1bb", "../x", "a//b", "/etc", "", ".", "a" * 201, "a\u2028b", "a\\b"]
    )
    async def test_an_artifact_with_an_unreachable_name_is_not_listed(self, plane: ControlPlane, name: str) -> None:
        job_id, run = await plane.started_job()
        uri = run.writes("attempts/1/report.txt", b"words")
        artifact = {"uri": uri, "media_type": "text/plain", "sha256": "0" * 64, "size_bytes": 5}
        await run.reports({"kind": "artifact_saved", "name": name} | artifact)
        assert (await plane.job(job_id))["artifacts"] == []

    @pytest.mark.parametrize("name", ["report.txt", "deep/down.txt", "a b?c#d%2e.txt", "épreuve.txt", "a;b=c&d.txt"])
    async def test_a_listed_artifact_can_be_downloaded(self, plane: ControlPlane, name: str) -> None:
        job_id, run = await plane.started_job()
        uri = run.writes("attempts/1/report.txt", b"words")
        artifact = {"uri": uri, "media_type": "text/plain", "sha256": "0" * 64, "size_bytes": 5}
        await run.reports({"kind": "artifact_saved", "name": name} | artifact)
        (listed,) = (await plane.job(job_id))["artifacts"]
        answer = await plane.http.get(listed["url"])
        assert (answer.status_code, answer.content) == (200, b"words")


def bodies_with(text: str) -> list[tuple[str, str, Any]]:
    """Return a request for each text field that a user can send: (method, path, body)."""
    coco = {
        "type": "coco",
        "train": {"images": "/d", "annotations": text},
        "val": {"images": text, "annotations": "/d"},
    }
    space = {"training.optimizer.learning_rate": {"type": "choice", "values": [text, {text: text}]}}
    base = {name: value for name, value in train_spec().items() if name != "name"}
    return [
        ("POST", "/v1/jobs", train_spec(name=text)),
        ("POST", "/v1/jobs", train_spec(project=text)),
        ("POST", "/v1/jobs", train_spec(**{text: 1})),
        ("POST", "/v1/jobs", train_spec(kind=text)),
        ("POST", "/v1/jobs", train_spec(data=coco)),
        ("POST", "/v1/jobs", train_spec(data={"type": "yolo", "data_yaml": f"/data/{text}"})),
        ("POST", "/v1/jobs", train_spec(data={"type": "registered", "name": text})),
        ("POST", "/v1/jobs", train_spec(detector={"type": "retinanet", "weights": f"/w/{text}"})),
        ("POST", "/v1/jobs", train_spec(detector={"type": "retinanet", "weights": f"job:{text}/best"})),
        ("POST", "/v1/jobs", {"kind": "sweep", "name": "s", "base": base, "space": space}),
        (
            "POST",
            "/v1/jobs",
            {"kind": "sweep", "name": "s", "base": base, "space": {text: space}, "warm_start": [text]},
        ),
        ("POST", "/v1/datasets", {"name": text, "data": SHAPES}),
        ("POST", "/v1/datasets", {"name": "d", "data": coco}),
        ("POST", "/v1/tokens", {"name": text, "role": "read"}),
        ("POST", "/v1/tokens", {"name": "t", "role": "read", "project": text}),
        ("POST", "/v1/webhooks", {"url": f"https://example.org/{text}"}),
        ("PUT", "/v1/projects/lab", {text: 1}),
        ("POST", "/v1/jobs/{sweep}/trials", {"values": {"training.optimizer.learning_rate": text, text: text}}),
    ]


class TestInvalidText:
    @pytest.mark.parametrize("text", [LONE, "a\udfffb", "\ud83d"])
    async def test_a_lone_surrogate_is_refused_in_every_field(self, plane: ControlPlane, text: str) -> None:
        await self.check_refused(plane, text)

    async def test_a_nul_is_refused_in_every_field(self, plane: ControlPlane) -> None:
        await self.check_refused(plane, "a\x00b")

    async def check_refused(self, plane: ControlPlane, text: str) -> None:
        base = {name: value for name, value in train_spec().items() if name != "name"}
        space = {"training.optimizer.learning_rate": {"type": "choice", "values": [0.1, 0.2]}}
        sweep_id = await plane.submit({"kind": "sweep", "name": "s", "base": base, "space": space})
        for method, path, body in bodies_with(text):
            answer = await plane.http.request(
                method,
                path.format(sweep=sweep_id),
                content=json.dumps(body),
                headers={"Content-Type": "application/json"},
            )
            assert answer.status_code in (400, 422), (path, body, answer.text)

    @pytest.mark.parametrize("raw", ["%ED%A0%80", "%FF", "%C0%80", "%F4%90%80%80"])
    async def test_invalid_utf_8_in_a_url_causes_no_server_error(self, plane: ControlPlane, raw: str) -> None:
        job_id = await plane.submit(train_spec())
        for path in (
            *(f"/v1/jobs/{raw}", f"/v1/jobs/{job_id}/artifacts/{raw}", f"/v1/datasets/{raw}", f"/v1/projects/{raw}"),
            *(f"/v1/jobs?q={raw}", f"/v1/jobs?kind={raw}&project={raw}", f"/v1/audit?actor={raw}&target={raw}"),
            *(f"/v1/jobs/{job_id}/metrics?name={raw}&trial={raw}", f"/v1/compare?a={raw}&b={raw}", f"/v1/tokens/{raw}"),
            *(f"/v1/datasets?q={raw}&project={raw}", f"/v1/jobs?cursor={raw}", f"/v1/events?after={raw}&kind={raw}"),
            *(f"/v1/jobs/{job_id}/report?with={raw}", f"/v1/webhooks/{raw}", f"/{raw}"),
        ):
            answer = await plane.http.get(path, headers={"Accept": "application/json"})
            assert answer.status_code < 500, path

    @pytest.mark.parametrize("header", ["Idempotency-Key", "If-Match", "Last-Event-ID", "X-Request-ID", "Host"])
    async def test_invalid_utf_8_in_a_header_causes_no_server_error(self, plane: ControlPlane, header: str) -> None:
        job_id = await plane.submit(train_spec())
        for method, path in (
            ("POST", "/v1/jobs"),
            ("POST", f"/v1/jobs/{job_id}/pause"),
            ("GET", f"/v1/jobs/{job_id}/events"),
            ("GET", f"/v1/jobs/{job_id}/report"),
        ):
            answer = await plane.http.request(
                method,
                path,
                json=train_spec() if path == "/v1/jobs" else None,
                headers={b"Accept": b"application/json", header.encode(): b"\xed\xa0\x80\xff\x01"},
            )
            assert answer.status_code < 500, path
