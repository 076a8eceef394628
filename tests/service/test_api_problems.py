"""Refusals are problems: with a code, every reason, and nothing of the server's inside."""

import json
from functools import partial
from typing import Any

import api_outline
import pytest
from control_plane import SHAPES, ControlPlane, ManualClock, evaluate_spec, progress, train_spec
from memory_cluster import MemoryCluster
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from service.settings import Settings
from service.store.session import Database

pytestmark = pytest.mark.one_database

PROBLEM = "application/problem+json"


def reasons(problem: dict[str, Any]) -> dict[str, str]:
    return {reason["loc"]: reason["message"] for reason in problem["reasons"]}


class TestRefusedSpecs:
    async def test_a_misspelt_field_is_named_with_its_path_and_a_suggestion(self, plane: ControlPlane) -> None:
        spec = train_spec(training={"epoch": 3, "optimizer": {"type": "adamw", "learning_rat": 1}})
        answer = await plane.http.post("/v1/jobs", json=spec)
        assert (answer.status_code, answer.headers["content-type"]) == (422, PROBLEM)
        found = reasons(answer.json())
        assert "did you mean 'epochs'" in found["training.epoch"]
        assert "did you mean 'learning_rate'" in found["training.optimizer.learning_rat"]

    async def test_all_faults_are_reported_at_once(self, plane: ControlPlane) -> None:
        answer = await plane.http.post("/v1/jobs", json={"kind": "train", "data": SHAPES, "resources": {"gpus": -1}})
        assert set(reasons(answer.json())) == {"name", "detector", "resources.gpus"}

    async def test_a_field_of_several_types_has_one_reason(self, plane: ControlPlane) -> None:
        taught = {"student": {"type": "retinanet"}, "teacher": {"checkpoint": "/t.pt"}, "data": SHAPES}
        wrong = {"kind": "distill", "name": "a distillation", "method": {"temperature": "automatic"}}
        (reason,) = (await plane.http.post("/v1/jobs", json=taught | wrong)).json()["reasons"]
        assert reason["loc"] == "method.temperature"
        assert "number" in reason["message"] and "write 'auto'" in reason["message"]

    @pytest.mark.parametrize("body", [b"{", b"[]", b"null", b"", b'{"kind": "trian"}', b"\xff", b'{"kind": NaN}'])
    async def test_a_body_that_is_not_a_spec_is_refused(self, plane: ControlPlane, body: bytes) -> None:
        answer = await plane.http.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code in (400, 422)
        assert answer.headers["content-type"] == PROBLEM

    async def test_a_refused_job_is_not_stored(self, plane: ControlPlane) -> None:
        await plane.http.post("/v1/jobs", json=evaluate_spec("job:nobody/best"))
        assert (await plane.http.get("/v1/jobs")).json()["items"] == []


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("DELETE", "/v1/jobs", 405, "method_not_allowed"),
        ("GET", "/v1/jobs/none", 404, "not_found"),
        ("GET", "/v1/jobs/none/events", 404, "not_found"),
        ("GET", "/v1/jobs/none/metrics", 404, "not_found"),
        ("GET", "/v1/jobs/none/artifacts/best.pt", 404, "not_found"),
        ("POST", "/v1/jobs/none/cancel", 404, "not_found"),
        ("GET", "/v1/jobs?state=asleep", 422, "request"),
        ("GET", "/v1/jobs?limit=0", 422, "request"),
        ("GET", "/v1/jobs?cursor=nonsense", 422, "spec"),
        ("GET", "/v1/jobs?cursor=%C3%A9", 422, "spec"),
        ("GET", "/v1/attempts/none", 401, "unauthorized"),
    ],
)
async def test_every_refusal_is_a_problem(plane: ControlPlane, method: str, path: str, status: int, code: str) -> None:
    answer = await plane.http.request(method, path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM)
    problem = answer.json()
    assert (problem["status"], problem["code"], problem["type"]) == (status, code, f"urn:fgd:problem:{code}")
    assert problem["detail"]


WRONG = "no~such"


def refusing(parameter: dict[str, Any]) -> bool:
    """Return whether a parameter's schema refuses WRONG."""
    schema = parameter["schema"]
    options = [each.get("items", each) for each in schema.get("anyOf", [schema])]
    return parameter["in"] == "query" and all(
        each["type"] != "string" or each.keys() & {"enum", "pattern", "format"} for each in options
    )


async def test_a_refused_parameter_is_named_with_its_value_and_the_cure(plane: ControlPlane) -> None:
    found = {
        (path, parameter["name"]): (method, operation)
        for path, operations in (await plane.http.get("/openapi.json")).json()["paths"].items()
        for method, operation in operations.items()
        for parameter in operation.get("parameters", [])
        if refusing(parameter) and not path.startswith("/v1/attempts/")  # Without a run's token they refuse all.
    }
    assert len(found) > 30
    for (path, name), (method, _) in found.items():
        address = path.replace("{", "").replace("}", "")
        answer = await plane.http.request(method, address, params={name: WRONG})
        message = next(text for loc, text in reasons(answer.json()).items() if loc.startswith(f"query.{name}"))
        assert answer.status_code == 422 and repr(WRONG) in message and message != repr(WRONG), (path, message)
    answer = await plane.http.get("/v1/jobs?limit=0&state=asleep&created_after=0001-01-01T00:00:00%2B12:00")
    found_reasons = reasons(answer.json())
    assert found_reasons["query.limit"] == "input should be greater than or equal to 1, and not '0'"
    assert found_reasons["query.state.0"].startswith("'asleep' is not a possible value; write 'blocked', 'queued'")
    assert "'0001-01-01T00:00:00+12:00' is refused: this time is outside" in found_reasons["query.created_after"]


async def test_an_invalid_last_event_id_is_refused(plane: ControlPlane) -> None:
    job_id = await plane.submit(train_spec())
    for bad in ("abc", "-1", "9" * 30, "1.5"):
        answer = await plane.http.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": bad})
        assert (answer.status_code, answer.json()["reasons"][0]["code"]) == (422, "bad_event_id"), bad


async def test_an_unhandled_exception_is_answered_without_a_traceback(
    plane: ControlPlane,
) -> None:
    def broken() -> None:
        raise RuntimeError("a secret of the server")

    plane.app.add_api_route("/broken", broken)
    answer = await plane.http.get("/broken", headers={"X-Request-ID": "abc"})
    assert (answer.status_code, answer.json()["code"], answer.headers["X-Request-ID"]) == (500, "internal", "abc")
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text


# Only SQLite has a size limit that can simulate a full disk.
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_full_disk_is_reported_and_nothing_is_partly_stored(
    settings: Settings, cluster: MemoryCluster, clock: ManualClock
) -> None:
    plane = ControlPlane(settings, cluster, clock)
    job_id, run = await plane.started_job()
    batch = run.batch(*(progress(step) for step in range(1, 500)))
    before = (await plane.job(job_id))["last_sequence"]
    database: Database = plane.services.database

    async def leave_pages(session: AsyncSession, pages: int) -> None:
        # SQLite's own limit raises the same error as a full disk.
        used = await session.scalar(text("PRAGMA page_count"))
        await session.execute(text(f"PRAGMA max_page_count = {used + pages}"))

    await database.write_together(partial(leave_pages, pages=4))
    answer = await run.post(batch)
    assert (answer.status_code, answer.headers["content-type"]) == (507, PROBLEM)
    assert answer.json()["code"] == "storage"
    assert (await plane.job(job_id))["last_sequence"] == before

    await database.write_together(partial(leave_pages, pages=1000000))
    assert (await run.post(batch)).status_code == 200
    assert (await plane.job(job_id))["last_sequence"] == before + 499
    await plane.close()


def test_the_api_matches_its_recorded_outline(plane: ControlPlane) -> None:
    assert api_outline.outline(plane.app.openapi()) == api_outline.FILE.read_text(), (
        "if the change is intended, run `make api`"
    )


async def test_openapi_names_every_operation_and_declares_problems(plane: ControlPlane) -> None:
    schema = (await plane.http.get("/openapi.json")).json()
    operations = [operation for path in schema["paths"].values() for operation in path.values()]
    ids = [operation["operationId"] for operation in operations]
    assert {"submit_job", "list_jobs", "get_job", "cancel_job", "get_events", "report_events", "ready"} <= set(ids)
    assert len(ids) == len(set(ids))
    assert all(set(operation["responses"]["422"]["content"]) == {PROBLEM} for operation in operations)
    assert "HTTPValidationError" not in json.dumps(schema)
