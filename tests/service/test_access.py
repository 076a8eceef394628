"""Access: tokens, roles, projects and the audit trail."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from control_plane import ControlPlane, ManualClock, evaluate_spec, train_spec
from memory_cluster import MemoryCluster
from pydantic import SecretStr
from sqlalchemy import event, text
from sweeps import begun, sweep_spec

from fgd_core.errors import ConflictError, StorageError
from service.api.authentication import OPEN
from service.api.token_check import TokenCheck
from service.server.first_token import ensure_admin_token
from service.settings import Settings
from service.web.paths import SESSION_PATH

PROBLEM = "application/problem+json"
ROOT = "an-admin-token-for-tests-of-enough-length"


class Guarded(ControlPlane):
    """A control plane that needs tokens; `http` sends an admin's."""

    def __init__(self, settings: Settings, cluster: MemoryCluster, clock: ManualClock) -> None:
        super().__init__(settings, cluster, clock)
        self.http.headers["Authorization"] = f"Bearer {ROOT}"

    async def token(self, role: str, *, project: str | None = None, **fields: Any) -> dict[str, Any]:
        body = {"name": f"{role} of {project}", "role": role, "project": project} | fields
        answer = await self.http.post("/v1/tokens", json=body)
        assert answer.status_code == 201, answer.text
        created: dict[str, Any] = answer.json()
        return created

    async def as_(self, token: str | None, method: str, path: str, **options: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}"} if token is not None else {"Authorization": ""}
        return await self.http.request(method, path, headers=headers, **options)

    async def by(self, role: str, method: str, path: str, *, project: str | None = None, **options: Any) -> int:
        """Return the status of a request with a new token of this role."""
        made = await self.token(role, project=project)
        return (await self.as_(made["token"], method, path, **options)).status_code


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return Settings(
        home=settings.home,
        database=settings.database,
        auth="tokens",
        admin_token=SecretStr(ROOT),
        data_roots=(Path("/"),),
    )


@pytest.fixture
async def guarded(settings: Settings, cluster: MemoryCluster, clock: ManualClock) -> AsyncIterator[Guarded]:
    plane = Guarded(settings, cluster, clock)
    await ensure_admin_token(settings, plane.services.database, clock)
    yield plane
    await plane.close()


class TestTokens:
    async def test_a_token_has_its_format_and_is_shown_once(self, guarded: Guarded) -> None:
        made = await guarded.token("read")
        assert re.fullmatch(rf"fgd_{made['token_id']}_[0-9a-f]{{64}}", made["token"])
        listed = await guarded.http.get("/v1/tokens")
        assert made["token_id"] in listed.text
        assert made["token"] not in listed.text

    async def test_the_database_stores_no_token(self, guarded: Guarded) -> None:
        made = await guarded.token("read")
        async with guarded.services.database.reading() as session:
            rows = (await session.execute(text("SELECT * FROM api_tokens"))).all()
            audited = (await session.execute(text("SELECT * FROM audit_entries"))).all()
        secret = made["token"].rsplit("_", 1)[-1]
        assert len(rows) == 2
        assert secret not in str(rows) + str(audited)
        assert ROOT not in str(rows) + str(audited)

    @pytest.mark.one_database
    @pytest.mark.parametrize(
        "header", ["", "Bearer", "Bearer ", "Basic abc", f"Basic {ROOT}", ROOT, "Bearer fgd_abc_def", "Bearer \xff"]
    )
    async def test_a_request_without_a_valid_token_is_refused(self, guarded: Guarded, header: str) -> None:
        answer = await guarded.http.get("/v1/jobs", headers=[(b"Authorization", header.encode("latin-1"))])
        assert (answer.status_code, answer.headers["content-type"]) == (401, PROBLEM)
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert answer.json()["code"] == "unauthorized"

    async def test_a_revoked_token_is_refused_at_once_and_stays_listed(self, guarded: Guarded) -> None:
        made = await guarded.token("read")
        assert (await guarded.as_(made["token"], "GET", "/v1/jobs")).status_code == 200
        assert (await guarded.http.delete(f"/v1/tokens/{made['token_id']}")).json()["revoked_at"] is not None
        answer = await guarded.as_(made["token"], "GET", "/v1/jobs")
        assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert made["token"] not in answer.text
        assert made["token_id"] in (await guarded.http.get("/v1/tokens")).text

    async def test_a_token_revoked_on_another_replica_is_refused_within_seconds(
        self, guarded: Guarded, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = await guarded.token("read")
        assert (await guarded.as_(made["token"], "GET", "/v1/jobs")).status_code == 200
        other = Guarded(settings, guarded.cluster, guarded.clock)
        await other.http.delete(f"/v1/tokens/{made['token_id']}")
        await other.close()
        later = time.monotonic() + 3.1
        monkeypatch.setattr("service.api.token_check.time.monotonic", lambda: later)
        assert (await guarded.as_(made["token"], "GET", "/v1/jobs")).status_code == 401

    async def test_an_expired_token_is_refused_even_if_it_is_cached(self, guarded: Guarded) -> None:
        made = await guarded.token("read", expires_at=(guarded.clock() + timedelta(hours=1)).isoformat())
        assert (await guarded.as_(made["token"], "GET", "/v1/jobs")).status_code == 200
        guarded.clock.forward(3601)
        answer = await guarded.as_(made["token"], "GET", "/v1/jobs")
        assert (answer.status_code, "expired" in answer.json()["detail"]) == (401, True)

    async def test_an_expiry_in_the_past_is_refused(self, guarded: Guarded) -> None:
        body = {"name": "late", "role": "read", "expires_at": "2020-01-01T00:00:00Z"}
        answer = await guarded.http.post("/v1/tokens", json=body)
        assert (answer.status_code, answer.json()["reasons"][0]["loc"]) == (422, "expires_at")

    async def test_its_use_is_recorded_once_a_minute_with_one_query(self, guarded: Guarded) -> None:
        made = await guarded.token("read")
        statements: list[str] = []

        def record(connection: object, cursor: object, statement: str, *_: object) -> None:
            if "api_tokens" in statement:
                statements.append(statement.split(maxsplit=1)[0])

        event.listen(guarded.services.database._engine.sync_engine, "before_cursor_execute", record)
        check = TokenCheck(guarded.services.database, guarded.clock)
        for _ in range(5):
            await check.principal(made["token"])
        assert statements == ["SELECT", "UPDATE"]
        check.forget()
        await check.principal(made["token"])
        assert statements == ["SELECT", "UPDATE", "SELECT"]
        guarded.clock.forward(61)
        check.forget()
        await check.principal(made["token"])
        assert statements[3:] == ["SELECT", "UPDATE"]

    async def test_whoami_returns_the_tokens_principal(self, guarded: Guarded) -> None:
        made = await guarded.token("submit", project="mine")
        principal = (await guarded.as_(made["token"], "GET", "/v1/whoami")).json()
        expected = {"name": "submit of mine", "role": "submit", "project": "mine", "token_id": made["token_id"]}
        assert principal == expected


@pytest.mark.one_database
class TestRoles:
    async def test_every_route_except_the_open_ones_needs_a_token_and_declares_a_role(self, guarded: Guarded) -> None:
        schema = guarded.app.openapi()
        assert len(schema["paths"]) > 15
        for path, operations in schema["paths"].items():
            for method, operation in operations.items():
                # Signing in needs no session; `test_web` tests what it needs.
                if path in {*OPEN, SESSION_PATH} or path.startswith("/v1/attempts/"):
                    continue
                filled = re.sub(r"{[^}]+}", "x", path)
                assert (await guarded.as_(None, method.upper(), filled)).status_code == 401, (method, path)
                assert operation["security"] == [{"ApiToken": []}], (method, path)
                assert {"401", "403"} <= set(operation["responses"]), (method, path)

    async def test_the_open_routes_need_no_token(self, guarded: Guarded) -> None:
        for path in ("/livez", "/readyz", "/openapi.json", "/docs"):
            assert (await guarded.as_(None, "GET", path)).status_code == 200, path

    async def test_a_reader_may_not_change_anything_and_learns_the_needed_role(self, guarded: Guarded) -> None:
        job_id = await guarded.submit(train_spec())
        made = await guarded.token("read")
        assert (await guarded.as_(made["token"], "GET", f"/v1/jobs/{job_id}")).status_code == 200
        for method, path, body in (
            ("POST", "/v1/jobs", train_spec()),
            ("POST", f"/v1/jobs/{job_id}/cancel", None),
            ("POST", f"/v1/jobs/{job_id}/pause", None),
            ("PATCH", f"/v1/jobs/{job_id}", {"priority": 5}),
        ):
            answer = await guarded.as_(made["token"], method, path, json=body)
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), path
            assert "role submit" in answer.json()["detail"]
        assert await guarded.state(job_id) == "queued"

    async def test_a_submitter_may_change_jobs_only(self, guarded: Guarded) -> None:
        assert await guarded.by("submit", "POST", "/v1/jobs", json=train_spec()) == 202
        for method, path in (
            ("GET", "/v1/tokens"),
            ("POST", "/v1/tokens"),
            ("GET", "/v1/webhooks"),
            ("GET", "/v1/audit"),
            ("PUT", "/v1/projects/default"),
        ):
            assert await guarded.by("submit", method, path, json={}) == 403, path

    async def test_metrics_need_a_token_for_all_projects(self, guarded: Guarded) -> None:
        assert await guarded.by("read", "GET", "/metrics") == 200
        assert await guarded.by("admin", "GET", "/metrics", project="vision") == 403

    async def test_the_admin_of_a_project_is_limited_to_it(self, guarded: Guarded) -> None:
        made = await guarded.token("admin", project="mine")
        for body, status in (
            ({"name": "a", "role": "admin"}, 201),
            ({"name": "b", "role": "read", "project": "mine"}, 201),
            ({"name": "c", "role": "read", "project": "yours"}, 403),
        ):
            answer = await guarded.as_(made["token"], "POST", "/v1/tokens", json=body)
            assert answer.status_code == status, body
        listed = (await guarded.as_(made["token"], "GET", "/v1/tokens")).json()["items"]
        assert {item["project"] for item in listed} == {"mine"}
        other = await guarded.token("read", project="yours")
        assert (await guarded.as_(made["token"], "DELETE", f"/v1/tokens/{other['token_id']}")).status_code == 404
        for method, path in (("GET", "/v1/audit"), ("PUT", "/v1/projects/mine")):
            assert (await guarded.as_(made["token"], method, path, json={})).status_code == 403, path

    async def test_a_route_without_a_role_still_needs_a_token(self, guarded: Guarded) -> None:
        async def forgotten() -> dict[str, bool]:
            return {"secret": True}

        guarded.app.add_api_route("/v1/forgotten", forgotten, include_in_schema=False)
        assert (await guarded.as_(None, "GET", "/v1/forgotten")).status_code == 401


class TestProjects:
    async def test_resources_of_another_project_are_not_found(self, guarded: Guarded) -> None:
        made = await guarded.token("admin", project="mine")
        job_id = await guarded.submit(train_spec(project="yours"))
        for method, path in (
            ("GET", ""),
            ("GET", "/events"),
            ("GET", "/metrics"),
            ("GET", "/report"),
            ("GET", "/artifacts/best.pt"),
            ("POST", "/cancel"),
            ("POST", "/pause"),
            ("POST", "/resume"),
            ("POST", "/retry"),
        ):
            answer = await guarded.as_(made["token"], method, f"/v1/jobs/{job_id}{path}")
            missing = await guarded.as_(made["token"], method, f"/v1/jobs/000000000000{path}")
            assert answer.status_code == 404, path
            assert answer.text.replace(job_id, "000000000000") == missing.text, path
        assert await guarded.state(job_id) == "queued"

    async def test_a_report_with_another_projects_job_is_refused(self, guarded: Guarded) -> None:
        made = await guarded.token("submit", project="mine")
        mine = (await guarded.as_(made["token"], "POST", "/v1/jobs", json=train_spec())).json()["job_id"]
        yours = await guarded.submit(train_spec(project="yours"))
        answer = await guarded.as_(made["token"], "GET", f"/v1/jobs/{mine}/report?with={yours}")
        assert answer.status_code == 404

    async def test_lists_show_the_own_project_only(self, guarded: Guarded) -> None:
        made = await guarded.token("submit", project="mine")
        mine = (await guarded.as_(made["token"], "POST", "/v1/jobs", json=train_spec())).json()
        await guarded.submit(train_spec(project="yours"))
        listed = (await guarded.as_(made["token"], "GET", "/v1/jobs")).json()["items"]
        assert [(item["job_id"], item["project"]) for item in listed] == [(mine["job_id"], "mine")]
        projects = (await guarded.as_(made["token"], "GET", "/v1/projects")).json()["items"]
        assert [project["name"] for project in projects] == ["mine"]
        assert (await guarded.as_(made["token"], "GET", "/v1/projects/yours")).status_code == 404

    async def test_the_queue_hides_who_holds_the_cluster_for_other_projects(self, guarded: Guarded) -> None:
        made = await guarded.token("read", project="mine")
        held, _ = await guarded.started_job(train_spec(project="yours"))
        everything = (await guarded.http.get("/v1/queue")).json()["running"]
        assert [(each["job_id"], each["cpus"]) for each in everything] == [(held, 1)]
        assert (await guarded.as_(made["token"], "GET", "/v1/queue")).json()["running"] == []

    async def test_a_draft_reads_no_job_of_another_project(self, guarded: Guarded) -> None:
        made = await guarded.token("submit", project="mine")
        theirs = await guarded.submit(train_spec(project="yours"))
        refused = await guarded.as_(made["token"], "POST", "/v1/drafts", json={"start": f"job:{theirs}"})
        assert refused.status_code == 404
        named = await guarded.as_(
            made["token"], "POST", "/v1/drafts", json={"start": "kind:train", "changes": {"project": "yours"}}
        )
        assert [reason["loc"] for reason in named.json()["reasons"]] == ["project"]
        assert await guarded.by("read", "POST", "/v1/drafts", json={"start": "kind:train"}) == 403

    async def test_a_job_may_name_the_own_project_only_and_has_it_by_default(self, guarded: Guarded) -> None:
        made = await guarded.token("submit", project="mine")
        answer = await guarded.as_(made["token"], "POST", "/v1/jobs", json=train_spec(project="yours"))
        assert (answer.status_code, "'mine'" in answer.json()["detail"]) == (403, True)
        taken = (await guarded.as_(made["token"], "POST", "/v1/jobs", json=train_spec())).json()
        assert (taken["project"], taken["submitted_by"]) == ("mine", "submit of mine")

    async def test_a_checkpoint_of_another_projects_job_is_unknown(self, guarded: Guarded) -> None:
        made = await guarded.token("submit", project="mine")
        teacher = await guarded.submit(train_spec(project="yours"))
        answer = await guarded.as_(made["token"], "POST", "/v1/jobs", json=evaluate_spec(f"job:{teacher}/best"))
        assert (answer.status_code, answer.json()["reasons"][0]["code"]) == (422, "unknown_job")

    async def test_limits_are_replaced_and_shown_with_the_usage(self, guarded: Guarded) -> None:
        await guarded.started_job(train_spec(project="mine"))
        await guarded.submit(train_spec(project="mine"))
        put = await guarded.http.put("/v1/projects/mine", json={"weight": 2.5, "max_running_jobs": 1})
        assert put.status_code == 200
        expected = {"name": "mine", "weight": 2.5, "max_running_jobs": 1, "max_gpus": None}
        used = {"running_jobs": 1, "gpus": 0, "queued_jobs": 1}
        assert (await guarded.http.get("/v1/projects/mine")).json() == expected | used
        await guarded.http.put("/v1/projects/mine", json={})
        assert (await guarded.http.get("/v1/projects/mine")).json()["max_running_jobs"] is None

    @pytest.mark.one_database
    @pytest.mark.parametrize("bad", [{"weight": 0}, {"weight": -1}, {"max_gpus": -1}, {"max_running_jobs": 0.5}])
    async def test_invalid_limits_are_refused(self, guarded: Guarded, bad: dict[str, Any]) -> None:
        assert (await guarded.http.put("/v1/projects/mine", json=bad)).status_code == 422


class TestFirstToken:
    async def test_a_server_without_an_admin_token_does_not_start_and_says_how_to_create_one(
        self, settings: Settings, cluster: MemoryCluster, clock: ManualClock
    ) -> None:
        plane = ControlPlane(settings.model_copy(update={"admin_token": None}), cluster, clock)
        with pytest.raises(ConflictError, match=r"fgd tokens create .*--role admin.*FGD_ADMIN_TOKEN"):
            async with plane.app.router.lifespan_context(plane.app):
                pass
        await plane.close()

    @pytest.mark.parametrize("end", ["revoke", "expire"])
    async def test_an_invalid_admin_token_does_not_count(self, guarded: Guarded, end: str) -> None:
        database, clock = guarded.services.database, guarded.clock
        without = guarded.settings.model_copy(update={"admin_token": None})
        fields = {"expires_at": (clock() + timedelta(hours=1)).isoformat()} if end == "expire" else {}
        made = await guarded.token("admin", **fields)
        await guarded.token("admin", project="mine")
        await guarded.http.delete("/v1/tokens/bootstrap")
        await ensure_admin_token(without, database, clock)
        if end == "revoke":
            await guarded.as_(made["token"], "DELETE", f"/v1/tokens/{made['token_id']}")
        clock.forward(3601)
        with pytest.raises(ConflictError):
            await ensure_admin_token(without, database, clock)

    async def test_it_may_come_from_a_file_and_a_new_value_replaces_the_old_one(self, guarded: Guarded) -> None:
        file = guarded.settings.home / "token"
        file.write_text("another-admin-token-for-tests-long-enough\n")
        settings = guarded.settings.model_copy(update={"admin_token": None, "admin_token_file": file})
        await ensure_admin_token(settings, guarded.services.database, guarded.clock)
        guarded.services.tokens.forget()
        assert (await guarded.as_(file.read_text().strip(), "GET", "/v1/whoami")).json()["name"] == "bootstrap"
        assert (await guarded.http.get("/v1/whoami")).status_code == 401

    async def test_a_revoked_first_token_stays_revoked_after_a_restart(self, guarded: Guarded) -> None:
        await guarded.token("admin")
        await guarded.http.delete("/v1/tokens/bootstrap")
        await ensure_admin_token(guarded.settings, guarded.services.database, guarded.clock)
        assert (await guarded.http.get("/v1/whoami")).status_code == 401

    @pytest.mark.one_database
    @pytest.mark.parametrize("content", [None, b"", b"short\n", b"\xff" * 40])
    async def test_a_file_without_a_valid_token_is_refused(self, guarded: Guarded, content: bytes | None) -> None:
        file = guarded.settings.home / "token"
        if content is not None:
            file.write_bytes(content)
        settings = guarded.settings.model_copy(update={"admin_token": None, "admin_token_file": file})
        with pytest.raises(StorageError, match="FGD_ADMIN_TOKEN_FILE"):
            await ensure_admin_token(settings, guarded.services.database, guarded.clock)


class TestAudit:
    async def entries(self, guarded: Guarded, **query: Any) -> list[dict[str, Any]]:
        answer = await guarded.http.get("/v1/audit", params=query)
        assert answer.status_code == 200, answer.text
        items: list[dict[str, Any]] = answer.json()["items"]
        return items

    async def test_an_entry_holds_actor_target_project_and_status(self, guarded: Guarded) -> None:
        made = await guarded.token("submit", project="mine")
        headers = {"Authorization": f"Bearer {made['token']}", "X-Request-ID": "abc"}
        answer = await guarded.http.post("/v1/jobs", json=train_spec(), headers=headers)
        (entry,) = await self.entries(guarded, action="submit_job")
        assert entry["details"] == {"name": "a training", "kind": "train"}
        assert {name: entry[name] for name in ("actor", "token_id", "target", "project", "status", "request_id")} == {
            "actor": "submit of mine",
            "token_id": made["token_id"],
            "target": answer.headers["Location"],
            "project": "mine",
            "status": 202,
            "request_id": "abc",
        }

    async def test_refused_requests_are_recorded_but_not_unauthenticated_ones(self, guarded: Guarded) -> None:
        made = await guarded.token("read")
        await guarded.as_(made["token"], "POST", "/v1/jobs", json=train_spec())
        await guarded.as_(None, "POST", "/v1/jobs", json=train_spec())
        await guarded.http.post("/v1/jobs", content=b"{")
        found = await self.entries(guarded, action="submit_job")
        assert [(entry["actor"], entry["status"]) for entry in found] == [("bootstrap", 422), ("read of None", 403)]

    async def test_an_entry_about_a_job_names_the_jobs_project(self, guarded: Guarded) -> None:
        job_id = await guarded.submit(train_spec(project="mine"))
        await guarded.http.post(f"/v1/jobs/{job_id}/cancel")
        (entry,) = await self.entries(guarded, action="cancel_job")
        assert (entry["project"], entry["target"]) == ("mine", f"/v1/jobs/{job_id}")

    async def test_reads_and_reports_of_runs_are_not_recorded(self, guarded: Guarded) -> None:
        _, run = await guarded.started_job()
        await run.succeeds()
        await guarded.http.get("/v1/jobs")
        assert {entry["action"] for entry in await self.entries(guarded)} == {"submit_job"}

    async def test_the_list_has_pages_and_filters(self, guarded: Guarded) -> None:
        for number in range(5):
            await guarded.submit(train_spec(seed=number, project="mine" if number % 2 else "yours"))
        found, cursor = [], None
        while True:
            page = await guarded.http.get("/v1/audit", params={"limit": 2} | ({"cursor": cursor} if cursor else {}))
            found += [entry["entry_id"] for entry in page.json()["items"]]
            cursor = page.json()["next_cursor"]
            if cursor is None:
                break
        assert found == sorted(found, reverse=True)
        assert len(set(found)) == 5
        assert len(await self.entries(guarded, project="mine")) == 2
        assert len(await self.entries(guarded, actor="bootstrap")) == 5
        assert await self.entries(guarded, target="%") == []

    async def test_concurrent_changes_are_all_recorded(self, guarded: Guarded) -> None:
        await asyncio.gather(*(guarded.submit(train_spec(seed=number)) for number in range(20)))
        assert len(await self.entries(guarded, limit=500)) == 20


@pytest.mark.one_database
class TestSweeps:
    async def test_a_sweep_of_another_project_is_unknown(self, guarded: Guarded) -> None:
        theirs = await guarded.submit(sweep_spec(project="theirs"))
        token = (await guarded.token("submit", project="ours"))["token"]
        for change in ({"fork": theirs}, {"warm_start": [theirs]}, {"fork": "nobody"}):
            answer = await guarded.as_(token, "POST", "/v1/jobs", json=sweep_spec(**change))
            assert [reason["code"] for reason in answer.json()["reasons"]] == ["unknown_job"]
        assert (await guarded.as_(token, "GET", f"/v1/jobs/{theirs}/trials")).status_code == 404
        assert (await guarded.as_(token, "POST", f"/v1/jobs/{theirs}/budget", json={"trials": 1})).status_code == 404

    async def test_a_reader_may_not_change_a_sweep(self, guarded: Guarded) -> None:
        job_id, run = await guarded.started_job(sweep_spec())
        await run.reports(begun(0))
        token = (await guarded.token("read"))["token"]
        assert (await guarded.as_(token, "GET", f"/v1/jobs/{job_id}/trials/0")).status_code == 200
        requests = (("trials", {"values": {}}), ("trials/0/stop", None), ("budget", {"trials": 1}))
        for path, body in requests:
            answer = await guarded.as_(token, "POST", f"/v1/jobs/{job_id}/{path}", json=body)
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
        assert (await guarded.as_(token, "GET", f"/v1/attempts/{run.attempt_id}/study")).status_code == 401
