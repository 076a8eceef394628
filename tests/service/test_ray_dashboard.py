"""The proxy in front of Ray's dashboard: access, what it forwards, and what it removes."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import httpx
import pytest
from control_plane import ControlPlane, ManualClock, train_spec
from memory_cluster import MemoryCluster
from pydantic import SecretStr
from served import served_by
from test_access import ROOT, Guarded

from service.ray_proxy.paths import COOKIE, SESSION_S
from service.server.first_token import ensure_admin_token
from service.settings import Settings

PAGE = {"Accept": "text/html,application/xhtml+xml"}
OWN = {"Origin": "http://127.0.0.1"}


def answers(body: bytes = b"{}", status: int = 200, **headers: str) -> Callable[[httpx.Request], httpx.Response]:
    named = {name.replace("_", "-"): value for name, value in headers.items()} or {"content-type": "application/json"}
    return lambda request: httpx.Response(status, headers=named, content=body)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"auth": "tokens", "admin_token": SecretStr(ROOT)})


@pytest.fixture
async def guarded(settings: Settings, cluster: MemoryCluster, clock: ManualClock) -> AsyncIterator[Guarded]:
    plane = Guarded(settings, cluster, clock)
    cluster.dashboard = answers()
    await ensure_admin_token(settings, plane.services.database, clock)
    yield plane
    await plane.close()


@pytest.fixture
async def reader(guarded: Guarded) -> str:
    made = await guarded.token("read")
    token: str = made["token"]
    return token


async def sign_in(plane: Guarded, token: str, next_page: str = "/ray/", **headers: str) -> httpx.Response:
    form = {"token": token, "next": next_page}
    return await plane.http.post("/ray/sign-in", data=form, headers=OWN | {"Authorization": ""} | headers)


async def cookie_of(plane: Guarded, token: str) -> dict[str, str]:
    """Returns the headers of a browser that has signed in."""
    answer = await sign_in(plane, token)
    assert answer.status_code == 303, answer.text
    value = answer.cookies[COOKIE]
    plane.http.cookies.clear()
    return {"Authorization": "", "Cookie": f"{COOKIE}={value}"}


async def status_of_raw(port: int, path: str, token: str) -> int:
    reads, writes = await asyncio.open_connection("127.0.0.1", port)
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    writes.write(request.encode())
    answer = await reads.read()
    writes.close()
    return int(answer.split()[1])


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
class TestAccess:
    async def test_a_reader_of_all_projects_gets_the_page(self, guarded: Guarded, reader: str) -> None:
        guarded.cluster.dashboard = answers(b"<html>Ray</html>", content_type="text/html")
        answer = await guarded.as_(reader, "GET", "/ray/")
        assert (answer.status_code, answer.text) == (200, "<html>Ray</html>")

    @pytest.mark.parametrize("role", ["read", "submit", "admin"])
    async def test_a_token_for_one_project_is_refused_with_the_reason(self, guarded: Guarded, role: str) -> None:
        made = await guarded.token(role, project="lab")
        answer = await guarded.as_(made["token"], "GET", "/ray/api/jobs/")
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
        assert "all projects" in answer.json()["detail"]
        assert guarded.cluster.browsed == []

    @pytest.mark.parametrize("role", ["read", "submit"])
    @pytest.mark.parametrize(
        ("method", "path"),
        [
            *(("POST", "/ray/api/jobs/"), ("POST", "/ray/api/jobs/a/stop"), ("DELETE", "/ray/api/jobs/a")),
            *(("PUT", "/ray/api/serve/applications/"), ("POST", "/ray/api/task_events/query"), ("OPTIONS", "/ray/")),
            *(("GET", "/ray/worker/traceback?pid=1"), ("GET", "/ray/test/dump"), ("GET", "/ray/api/v0/delay/9")),
            *(("GET", "/%72ay/test/dump"), ("GET", "/ray/test/%64ump"), ("HEAD", "/ray/memory_profile")),
        ],
    )
    async def test_only_admins_may_use_paths_that_act(
        self, guarded: Guarded, role: str, method: str, path: str
    ) -> None:
        made = await guarded.token(role)
        answer = await guarded.as_(made["token"], method, path)
        assert answer.status_code == 403
        if method != "HEAD":
            assert answer.json()["details"] == {"needed": "admin", "role": role}
        assert guarded.cluster.browsed == []

    @pytest.mark.parametrize(
        "path", ["/ray//test/dump", "/ray/static/../test/dump", "/ray/static/%2e%2e/test/dump", "/ray/static%2f../x"]
    )
    async def test_another_spelling_of_a_path_is_refused(self, guarded: Guarded, path: str) -> None:
        # By hand, for httpx would tidy it up.
        async with served_by(guarded) as served:
            for token in ((await guarded.token("read"))["token"], ROOT):
                assert await status_of_raw(served.port, path, token) == 422
        assert guarded.cluster.browsed == []

    async def test_an_admin_may_act_and_the_audit_records_it(self, guarded: Guarded) -> None:
        answer = await guarded.http.post("/ray/api/jobs/fgd-a-1/stop", json={"x": 1})
        assert answer.status_code == 200
        (asked,) = guarded.cluster.browsed
        assert (asked.method, asked.url.raw_path, asked.content) == ("POST", b"/api/jobs/fgd-a-1/stop", b'{"x":1}')
        (entry,) = (await guarded.http.get("/v1/audit?action=ask_ray_dashboard")).json()["items"]
        assert (entry["actor"], entry["target"], entry["status"]) == ("bootstrap", "/ray/api/jobs/fgd-a-1/stop", 200)

    async def test_a_program_without_a_token_gets_401(self, guarded: Guarded) -> None:
        for path in ("/ray", "/ray/", "/ray/api/jobs/"):
            answer = await guarded.as_(None, "GET", path)
            assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
            assert answer.json()["code"] == "unauthorized"

    async def test_a_server_without_tokens_has_no_sign_in(
        self, settings: Settings, cluster: MemoryCluster, clock: ManualClock
    ) -> None:
        plane = ControlPlane(settings.model_copy(update={"auth": "none"}), cluster, clock)
        cluster.dashboard = answers()
        assert (await plane.http.get("/ray/", headers=PAGE)).status_code == 200
        signing = await plane.http.get("/ray/sign-in?next=/ray/%23/jobs")
        assert (signing.status_code, signing.headers["Location"]) == (303, "/ray/#/jobs")
        foreign = {"Origin": "http://evil.example"}
        assert (await plane.http.post("/ray/api/jobs/", json={}, headers=foreign)).status_code == 403
        await plane.close()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
class TestForwarding:
    async def test_our_token_and_cookies_do_not_reach_ray(self, guarded: Guarded, reader: str) -> None:
        odd = {"Cookie": "ray-authentication-token=x", "X-Ray-Authorization": "Bearer y", "X-Forwarded-For": "z"}
        headers = {"Authorization": f"Bearer {reader}", "Accept": "text/plain", "If-None-Match": '"1"'} | odd
        await guarded.http.get("/ray/api/jobs/?limit=5&filter=a%3Db", headers=headers)
        (asked,) = guarded.cluster.browsed
        assert asked.url.raw_path == b"/api/jobs/?limit=5&filter=a%3Db"
        assert reader not in str(asked.headers.raw)
        assert {name: value for name, value in asked.headers.items() if name != "host"} == {
            "accept": "text/plain",
            "if-none-match": '"1"',
            "user-agent": "fgd",
            "accept-encoding": "identity",
            "sec-fetch-mode": "cors",
        }

    async def test_cookies_and_redirects_of_ray_are_removed(self, guarded: Guarded, reader: str) -> None:
        guarded.cluster.dashboard = answers(
            b"{}", 302, set_cookie="a=b", location="http://ray:8265/", content_type="application/json", server="aiohttp"
        )
        answer = await guarded.as_(reader, "GET", "/ray/api/jobs/")
        assert not {"set-cookie", "location", "server"} & set(answer.headers)

    async def test_responses_have_security_headers(self, guarded: Guarded, reader: str) -> None:
        data = await guarded.as_(reader, "GET", "/ray/api/jobs/")
        assert data.headers["Content-Security-Policy"].startswith("sandbox")
        assert data.headers["Cache-Control"] == "no-store"
        page = await guarded.as_(reader, "GET", "/ray/")
        assert "script-src 'self'" in page.headers["Content-Security-Policy"]
        for answer in (data, page):
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["X-Frame-Options"] == "DENY"

    async def test_claim_codes_are_redacted_and_the_length_is_right(self, guarded: Guarded, reader: str) -> None:
        await guarded.submit(train_spec())
        await guarded.tick()
        code = guarded.cluster.submissions[0].environment["FGD_ATTEMPT_CLAIM"]
        pieces = [f'{{"env_vars": "{code[:30]}'.encode(), code[30:].encode(), b'", "x": "fg', b'd"}']

        async def in_pieces() -> AsyncIterator[bytes]:
            for piece in pieces:
                yield piece

        total = sum(map(len, pieces))
        guarded.cluster.dashboard = lambda request: httpx.Response(
            200, headers={"content-type": "application/json", "content-length": str(total)}, content=in_pieces()
        )
        answer = await guarded.as_(reader, "GET", "/ray/api/jobs/")
        assert answer.text == '{"env_vars": "fgdc_[redacted]", "x": "fgd"}'
        assert "Content-Length" not in answer.headers

    async def test_only_files_support_ranges(self, guarded: Guarded, reader: str) -> None:
        headers = {"Authorization": f"Bearer {reader}", "Range": "bytes=0-9"}
        await guarded.http.get("/ray/api/v0/logs/file?filename=x", headers=headers)
        await guarded.http.get("/ray/static/js/main.js", headers=headers)
        log, file = guarded.cluster.browsed
        assert ("range" in log.headers, file.headers["range"]) == (False, "bytes=0-9")

    async def test_a_file_has_its_length_and_is_cached_privately(self, guarded: Guarded, reader: str) -> None:
        guarded.cluster.dashboard = answers(b"x" * 9, content_type="font/woff2", cache_control="max-age=31536000")
        answer = await guarded.as_(reader, "GET", "/ray/static/media/a.woff2")
        assert (answer.headers["Content-Length"], answer.headers["Content-Type"]) == ("9", "font/woff2")
        assert answer.headers["Cache-Control"] == "private, max-age=31536000"

    async def test_nobody_has_to_enter_the_token_of_ray(self, guarded: Guarded, reader: str) -> None:
        answer = await guarded.as_(reader, "GET", "/ray/api/authentication_mode")
        assert answer.json() == {"authentication_mode": "disabled"}
        assert (await guarded.http.post("/ray/api/authenticate")).status_code == 403
        assert guarded.cluster.browsed == []

    async def test_an_unreachable_ray_gives_503_with_retry_after(self, guarded: Guarded, reader: str) -> None:
        guarded.cluster.is_reachable = False
        answer = await guarded.as_(reader, "GET", "/ray/api/jobs/")
        assert (answer.status_code, answer.json()["code"], answer.headers["Retry-After"]) == (503, "cluster", "2")
        page = await guarded.http.get("/ray/", headers=PAGE | {"Authorization": f"Bearer {reader}"})
        assert (page.status_code, page.headers["Retry-After"]) == (503, "2")
        assert "Ray cannot be reached" in page.text

    async def test_other_sites_cannot_send_a_get_that_acts(self, guarded: Guarded) -> None:
        for site, status in (("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)):
            answer = await guarded.http.get("/ray/memory_profile?pid=1", headers={"Sec-Fetch-Site": site})
            assert answer.status_code == status, site
        assert len(guarded.cluster.browsed) == 2
        assert (await guarded.http.get("/ray/api/jobs/", headers={"Sec-Fetch-Site": "cross-site"})).status_code == 200

    async def test_the_path_without_a_slash_redirects_to_the_page(self, guarded: Guarded, reader: str) -> None:
        answer = await guarded.as_(reader, "GET", "/ray")
        assert (answer.status_code, answer.headers["Location"]) == (308, "/ray/")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
class TestStreaming:
    async def test_a_log_is_streamed_and_the_stream_ends_with_its_reader(self, guarded: Guarded, reader: str) -> None:
        go_on, was_closed = asyncio.Event(), asyncio.Event()

        async def log() -> AsyncIterator[bytes]:
            try:
                yield b"first\n"
                await go_on.wait()
                yield b"second\n"
                await asyncio.Event().wait()
            finally:
                was_closed.set()

        guarded.cluster.dashboard = lambda request: httpx.Response(
            200, headers={"content-type": "text/plain"}, content=log()
        )
        async with (
            served_by(guarded) as served,
            served.client.stream(
                "GET", "/ray/api/v0/logs/stream?filename=x", headers={"Authorization": f"Bearer {reader}"}
            ) as answer,
        ):
            lines = answer.aiter_lines()
            assert await anext(lines) == "first"
            go_on.set()
            assert await anext(lines) == "second"
            await answer.aclose()
            await asyncio.wait_for(was_closed.wait(), 10)


@pytest.mark.one_database
class TestSigningIn:
    async def test_a_browser_signs_in_and_returns_to_its_page(self, guarded: Guarded, reader: str) -> None:
        first = await guarded.http.get("/ray/?a=b", headers=PAGE | {"Authorization": ""})
        assert first.status_code == 401
        assert 'href="/ray/sign-in?next=%2Fray%2F%3Fa%3Db"' in first.text
        assert "script-src 'sha256-" in first.headers["Content-Security-Policy"]
        form = await guarded.http.get("/ray/sign-in?next=%2Fray%2F%23%2Fjobs%2Ffgd-a-1", headers={"Authorization": ""})
        assert form.status_code == 200
        assert '<input type="hidden" name="next" value="/ray/#/jobs/fgd-a-1">' in form.text
        assert re.search(r"(src|href)=\"(https?:)?//", form.text) is None
        answer = await sign_in(guarded, reader, "/ray/#/jobs/fgd-a-1")
        assert (answer.status_code, answer.headers["Location"]) == (303, "/ray/#/jobs/fgd-a-1")
        assert (await guarded.http.get("/ray/api/jobs/", headers={"Authorization": ""})).status_code == 200

    async def test_the_cookie_is_limited_to_these_pages(self, guarded: Guarded, reader: str) -> None:
        cookie = (await sign_in(guarded, reader)).headers["Set-Cookie"]
        parts = {part.strip().lower() for part in cookie.split(";")[1:]}
        assert {"httponly", "samesite=strict", "path=/ray/", f"max-age={SESSION_S}"} <= parts
        assert "secure" not in parts
        assert reader not in cookie and reader.rsplit("_", 1)[-1] not in cookie
        value = cookie.split(";")[0].partition("=")[2]
        for headers in ({"Authorization": f"Bearer {value}"}, {"Authorization": "", "Cookie": f"{COOKIE}={value}"}):
            assert (await guarded.http.get("/v1/jobs", headers=headers)).status_code == 401

    async def test_over_https_the_cookie_is_secure(self, guarded: Guarded, reader: str) -> None:
        answer = await sign_in(guarded, reader, **{"X-Forwarded-Proto": "https"})
        assert "secure" in answer.headers["Set-Cookie"].lower()

    async def test_a_forged_cookie_is_refused(self, guarded: Guarded, reader: str) -> None:
        browser = await cookie_of(guarded, reader)
        name, token_id, ends_at, seal = re.split(r"[=.]", browser["Cookie"])
        forged = [f"bootstrap.{ends_at}.{seal}", f"{token_id}.{int(ends_at) + 1}.{seal}", f"{token_id}.{ends_at}."]
        for value in (*forged, f"{token_id}.{ends_at}.{'0' * 64}", "x", f"{token_id}.99999999999999999999.{seal}"):
            answer = await guarded.http.get("/ray/", headers=browser | {"Cookie": f"{name}={value}"})
            assert answer.status_code == 401, value

    async def test_a_wrong_token_shows_the_form_again(self, guarded: Guarded) -> None:
        answer = await sign_in(guarded, "wrong", '/ray/"><script>')
        assert answer.status_code == 401
        assert "this server does not know this API token" in answer.text
        assert 'role="alert"' in answer.text and "Set-Cookie" not in answer.headers
        assert "<script>" not in answer.text

    async def test_a_token_for_one_project_shows_the_form_again(self, guarded: Guarded) -> None:
        made = await guarded.token("admin", project="lab")
        answer = await sign_in(guarded, made["token"])
        assert answer.status_code == 403 and "all projects" in answer.text and "Set-Cookie" not in answer.headers

    async def test_the_sign_in_does_not_redirect_to_other_sites(self, guarded: Guarded, reader: str) -> None:
        for elsewhere in ("https://evil.example/", "//evil.example/ray/", "/\\evil.example", "/ray/\r\nX: y"):
            assert (await sign_in(guarded, reader, elsewhere)).headers["Location"] == "/ray/"

    async def test_the_sign_in_does_not_redirect_to_a_get_that_acts(self, guarded: Guarded) -> None:
        browser = await cookie_of(guarded, ROOT)
        for acts in ("/ray/memory_profile?pid=1", "/ray/worker/traceback?pid=1", "/ray/%6demory_profile"):
            answer = await guarded.http.get("/ray/sign-in", params={"next": acts}, headers=browser)
            assert (answer.status_code, answer.headers["Location"]) == (303, "/ray/"), acts

    @pytest.mark.parametrize(
        ("method", "path"), [("GET", "/ray/sign-out"), ("PUT", "/ray/sign-in"), ("HEAD", "/ray/sign-in")]
    )
    async def test_other_methods_on_its_pages_need_a_token(self, guarded: Guarded, method: str, path: str) -> None:
        assert (await guarded.as_(None, method, path)).status_code == 401

    async def test_a_form_with_too_many_fields_is_refused(self, guarded: Guarded) -> None:
        many = {f"field-{number}": "x" for number in range(11)}
        answer = await guarded.http.post("/ray/sign-in", data=many, headers=OWN)
        assert (answer.status_code, answer.json()["code"]) == (422, "spec")

    async def test_other_sites_cannot_sign_a_browser_in_or_out(self, guarded: Guarded, reader: str) -> None:
        for headers in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {}):
            for path in ("/ray/sign-in", "/ray/sign-out"):
                answer = await guarded.http.post(path, data={"token": reader}, headers=headers)
                assert (answer.status_code, "Set-Cookie" in answer.headers) == (403, False), (path, headers)

    async def test_other_sites_cannot_act_for_a_signed_in_user(self, guarded: Guarded) -> None:
        browser = await cookie_of(guarded, ROOT)
        for headers in ({"Origin": "http://evil.example"}, {"Origin": "http://127.0.0.1:3000"}, {}):
            answer = await guarded.http.post("/ray/api/jobs/a/stop", headers=browser | headers)
            assert answer.status_code == 403
        assert guarded.cluster.browsed == []
        assert (await guarded.http.post("/ray/api/jobs/a/stop", headers=browser | OWN)).status_code == 200

    async def test_signing_out_removes_the_cookie(self, guarded: Guarded, reader: str) -> None:
        await sign_in(guarded, reader)
        shown = await guarded.http.get("/ray/sign-in", headers={"Authorization": ""})
        assert "signed in as read of None (read)" in shown.text and 'action="/ray/sign-out"' in shown.text
        answer = await guarded.http.post("/ray/sign-out", headers=OWN | {"Authorization": ""})
        assert (answer.status_code, answer.headers["Location"]) == (303, "/ray/sign-in")
        assert (await guarded.http.get("/ray/", headers={"Authorization": ""})).status_code == 401

    async def test_all_pages_are_below_the_external_path(
        self, settings: Settings, cluster: MemoryCluster, clock: ManualClock
    ) -> None:
        outside = settings.model_copy(update={"external_url": "https://lab.example/fgd"})
        plane = Guarded(outside, cluster, clock)
        await ensure_admin_token(outside, plane.services.database, clock)
        answer = await sign_in(plane, ROOT, "/fgd/ray/#/jobs", Origin="https://lab.example")
        assert answer.headers["Location"] == "/fgd/ray/#/jobs"
        assert "path=/fgd/ray/" in answer.headers["Set-Cookie"].lower()
        await plane.close()


class TestSessions:
    async def test_revoking_the_token_ends_the_session(self, guarded: Guarded) -> None:
        made = await guarded.token("read")
        browser = await cookie_of(guarded, made["token"])
        assert (await guarded.http.get("/ray/", headers=browser)).status_code == 200
        await guarded.http.delete(f"/v1/tokens/{made['token_id']}")
        assert (await guarded.http.get("/ray/", headers=browser)).status_code == 401

    async def test_a_session_expires(self, guarded: Guarded, clock: ManualClock, reader: str) -> None:
        browser = await cookie_of(guarded, reader)
        clock.forward(timedelta(seconds=SESSION_S).total_seconds() + 1)
        assert (await guarded.http.get("/ray/", headers=browser)).status_code == 401

    async def test_replacing_the_admin_token_ends_its_sessions(
        self, guarded: Guarded, settings: Settings, cluster: MemoryCluster, clock: ManualClock
    ) -> None:
        browser = await cookie_of(guarded, ROOT)
        assert (await guarded.http.get("/ray/", headers=browser)).status_code == 200
        other = settings.model_copy(update={"admin_token": SecretStr("another-admin-token-of-enough-length")})
        await ensure_admin_token(other, guarded.services.database, clock)
        again = Guarded(other, cluster, clock)
        assert (await again.http.get("/ray/", headers=browser)).status_code == 401
        await again.close()

    async def test_another_control_plane_accepts_the_session(
        self, guarded: Guarded, settings: Settings, cluster: MemoryCluster, clock: ManualClock, reader: str
    ) -> None:
        browser = await cookie_of(guarded, reader)
        other = Guarded(settings, cluster, clock)
        assert (await other.http.get("/ray/", headers=browser)).status_code == 200
        await other.close()


class TestLinks:
    async def test_links_use_the_address_that_the_client_used(self, guarded: Guarded) -> None:
        job_id, _ = await guarded.started_job()
        page = f"/ray/#/jobs/fgd-{job_id}-1"
        job = await guarded.job(job_id)
        assert job["dashboard_url"] == job["attempts"][0]["dashboard_url"] == f"http://127.0.0.1{page}"
        elsewhere = {"Host": "lab.example:8443", "X-Forwarded-Proto": "https"}
        job = (await guarded.http.get(f"/v1/jobs/{job_id}", headers=elsewhere)).json()
        assert job["dashboard_url"] == f"https://lab.example:8443{page}"

    async def test_stored_links_use_the_external_address(
        self, settings: Settings, cluster: MemoryCluster, clock: ManualClock
    ) -> None:
        outside = settings.model_copy(update={"external_url": "https://lab.example/fgd"})
        plane = Guarded(outside, cluster, clock)
        await ensure_admin_token(outside, plane.services.database, clock)
        job_id, _ = await plane.started_job()
        page = f"https://lab.example/fgd/ray/#/jobs/fgd-{job_id}-1"
        (started,) = [event for event in await plane.events(job_id) if event.kind == "attempt_started"]
        assert started.data["dashboard_url"] == page
        report = await plane.http.get(f"/v1/jobs/{job_id}/report?format=html")
        assert f'href="{page}"' in report.text
        await plane.close()
