"""A server without tokens must reject requests from the web pages that its user visits."""

import pytest
from control_plane import ControlPlane, ManualClock, train_spec
from memory_cluster import MemoryCluster

from service.settings import Settings

pytestmark = pytest.mark.one_database


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8321", "localhost:8321", "[::1]:8321", "LOCALHOST"])
async def test_requests_to_its_own_names_are_answered(plane: ControlPlane, host: str) -> None:
    assert (await plane.http.get("/v1/jobs", headers={"Host": host})).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:8321", "10.0.0.1", "", "[::1", "a@b"])
async def test_requests_to_a_foreign_host_name_are_refused(plane: ControlPlane, host: str) -> None:
    for path in ("/v1/jobs", "/docs", "/livez"):
        answer = await plane.http.get(path, headers={"Host": host})
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), path


async def test_requests_to_a_configured_name_are_answered(
    settings: Settings, cluster: MemoryCluster, clock: ManualClock
) -> None:
    plane = ControlPlane(settings.model_copy(update={"allowed_hosts": ("lab.example",)}), cluster, clock)
    assert (await plane.http.get("/v1/jobs", headers={"Host": "lab.example:443"})).status_code == 200
    await plane.close()


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:3000", "file://", "http://[", "http://127.0.0.1.evil"]
)
async def test_a_page_of_another_site_cannot_change_anything(plane: ControlPlane, origin: str) -> None:
    answer = await plane.http.post("/v1/jobs", json=train_spec(), headers={"Origin": origin})
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert (await plane.http.get("/v1/jobs")).json()["items"] == []


async def test_its_own_pages_and_programs_can_change_things(plane: ControlPlane) -> None:
    for headers in ({"Origin": "http://127.0.0.1"}, {}):
        assert (await plane.http.post("/v1/jobs", json=train_spec(), headers=headers)).status_code == 202


@pytest.mark.parametrize("path", ["/v1/jobs/%00", "/v1/jobs/a%00b/events", "/v1/jobs?q=%00", "/v1/audit?actor=a%00"])
async def test_a_nul_in_the_url_is_refused(plane: ControlPlane, path: str) -> None:
    answer = await plane.http.get(path)
    assert (answer.status_code, answer.json()["code"]) == (422, "spec")


async def test_without_tokens_the_audit_names_anonymous(plane: ControlPlane) -> None:
    await plane.submit(train_spec())
    (entry,) = (await plane.http.get("/v1/audit")).json()["items"]
    assert (entry["actor"], entry["token_id"], entry["action"]) == ("anonymous", None, "submit_job")


async def test_a_body_without_length_or_above_its_limit_is_refused_unread(plane: ControlPlane) -> None:
    huge = {"Content-Length": str(10**9), "Content-Type": "application/json"}
    answer = await plane.http.post("/v1/jobs", content=b"{}", headers=huge)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    answer = await plane.http.post("/v1/jobs", content=b"{}", headers={"Transfer-Encoding": "chunked"})
    assert (answer.status_code, answer.json()["code"]) == (411, "length_missing")
