"""The page's shell, its files and its session; `tests/web` opens it in a browser."""

import re
from collections.abc import AsyncIterator

import httpx
import pytest
from control_plane import ControlPlane, ManualClock, train_spec
from memory_cluster import MemoryCluster
from pydantic import SecretStr
from test_access import Guarded

from service.ray_proxy.paths import SESSION_S
from service.server.first_token import ensure_admin_token
from service.settings import Settings
from service.web.paths import COOKIE

pytestmark = pytest.mark.one_database

ROOT = "an-admin-token-of-32-characters-or-more"
OWN = {"Origin": "http://127.0.0.1"}


@pytest.fixture
async def guarded(settings: Settings, cluster: MemoryCluster, clock: ManualClock) -> AsyncIterator[Guarded]:
    settings = settings.model_copy(update={"auth": "tokens", "admin_token": SecretStr(ROOT)})
    plane = Guarded(settings, cluster, clock)
    plane.http.headers["Authorization"] = f"Bearer {ROOT}"
    await ensure_admin_token(settings, plane.services.database, clock)
    yield plane
    await plane.close()


async def sign_in(plane: Guarded, token: str, **headers: str) -> httpx.Response:
    plane.http.cookies.clear()
    return await plane.http.post("/v1/session", json={"token": token}, headers={"Authorization": ""} | OWN | headers)


async def browser_of(plane: Guarded, role: str, *, project: str | None = None) -> dict[str, str]:
    """Return the headers that a signed-in browser sends."""
    answer = await sign_in(plane, (await plane.token(role, project=project))["token"])
    assert answer.json()["role"] == role
    cookie = answer.cookies[COOKIE]
    plane.http.cookies.clear()
    return {"Authorization": "", "Cookie": f"{COOKIE}={cookie}"} | OWN


class TestFiles:
    async def test_each_page_loads_the_files_of_this_version_only(self, plane: ControlPlane) -> None:
        shells = [(await plane.http.get(page)).text for page in ("/", "/jobs/3f9c0a1b7d2e")]
        named = [set(re.findall(r'(?:src|href)="([^"#]+)"', shell)) for shell in shells]
        assert all(len(of_page) > 20 for of_page in named) and named[0] != named[1]
        for path in named[0] | named[1]:
            answer = await plane.http.get(path)
            assert answer.status_code == 200, path
            assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
            kinds = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
            assert answer.headers["Content-Type"].partition(";")[0] == kinds[path.rpartition(".")[2]]

    async def test_modules_and_styles_stay_small(self, plane: ControlPlane) -> None:
        shell = (await plane.http.get("/")).text
        named = set(re.findall(r'(?:src|href)="([^"#]+)"', shell))
        assert sum([len((await plane.http.get(path)).content) for path in named], start=len(shell)) < 150_000

    async def test_the_shell_is_sent_again_only_after_a_change(self, plane: ControlPlane) -> None:
        etag = (await plane.http.get("/")).headers["ETag"]
        answer = await plane.http.get("/", headers={"If-None-Match": etag})
        assert (answer.status_code, answer.content) == (304, b"")
        assert (await plane.http.get("/", headers={"If-None-Match": '"old"'})).status_code == 200

    async def test_a_file_of_another_version_is_not_kept_by_the_browser(self, plane: ControlPlane) -> None:
        answer = await plane.http.get("/web/0123456789abcdef/app.js")
        assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "no-store")

    @pytest.mark.parametrize("name", ["..%2fpaths.py", "nothing.js", "%2e%2e%2fshell.html"])
    async def test_no_other_file_can_be_read(self, plane: ControlPlane, name: str) -> None:
        assert (await plane.http.get(f"/web/0123456789abcdef/{name}")).status_code == 404

    async def test_the_policy_allows_own_files_only_and_no_markup_from_text(self, plane: ControlPlane) -> None:
        policy = (await plane.http.get("/")).headers["Content-Security-Policy"]
        assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
        assert "require-trusted-types-for 'script'" in policy
        assert "unsafe" not in policy

    async def test_below_a_path_all_addresses_begin_with_it(
        self, settings: Settings, cluster: MemoryCluster, clock: ManualClock
    ) -> None:
        plane = ControlPlane(settings.model_copy(update={"external_url": "https://lab/fgd"}), cluster, clock)
        shell = (await plane.http.get("/")).text
        assert {path[:9] for path in re.findall(r'(?:src|href)="(/[^"]+)"', shell)} == {"/fgd/web/"}
        await plane.close()


class TestSessions:
    async def test_the_page_needs_no_token_and_its_data_does(self, guarded: Guarded) -> None:
        for path in ("/", "/jobs/3f9c0a1b7d2e"):
            assert (await guarded.as_(None, "GET", path)).status_code == 200
        assert (await guarded.as_(None, "GET", "/v1/jobs")).status_code == 401
        assert (await guarded.as_(None, "POST", "/")).status_code == 401

    async def test_a_cookie_stands_for_its_token_and_role(self, guarded: Guarded) -> None:
        reader, submitter = await browser_of(guarded, "read"), await browser_of(guarded, "submit")
        assert (await guarded.http.get("/v1/whoami", headers=reader)).json()["role"] == "read"
        for browser, status in ((reader, 403), (submitter, 202)):
            assert (await guarded.http.post("/v1/jobs", json=train_spec(), headers=browser)).status_code == status

    async def test_a_cookie_sees_its_project_only(self, guarded: Guarded) -> None:
        job_id = await guarded.submit(train_spec(project="theirs"))
        browser = await browser_of(guarded, "read", project="ours")
        assert (await guarded.http.get("/v1/jobs", headers=browser)).json()["items"] == []
        assert (await guarded.http.get(f"/v1/jobs/{job_id}", headers=browser)).status_code == 404

    @pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:3000", ""])
    async def test_a_page_of_another_site_can_use_no_cookie_to_change_anything(
        self, guarded: Guarded, origin: str
    ) -> None:
        browser = await browser_of(guarded, "submit") | {"Origin": origin}
        answer = await guarded.http.post("/v1/jobs", json=train_spec(), headers=browser)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")

    async def test_another_site_cannot_sign_a_browser_in(self, guarded: Guarded) -> None:
        answer = await sign_in(guarded, ROOT, Origin="http://evil.example")
        assert answer.status_code == 403
        assert "Set-Cookie" not in answer.headers

    async def test_the_cookie_is_for_no_script_and_no_other_site(self, guarded: Guarded) -> None:
        cookie = (await sign_in(guarded, ROOT)).headers["Set-Cookie"].lower()
        assert {"httponly", "samesite=strict", "path=/", f"max-age={SESSION_S}"} <= set(cookie.split("; "))
        assert ROOT not in cookie
        secure = await sign_in(guarded, ROOT, **{"X-Forwarded-Proto": "https"})
        assert "secure" in secure.headers["Set-Cookie"].lower().split("; ")

    async def test_a_wrong_token_gives_no_cookie(self, guarded: Guarded) -> None:
        answer = await sign_in(guarded, "fgd_unknown")
        assert (answer.status_code, "Set-Cookie" in answer.headers) == (401, False)

    async def test_revoking_the_token_ends_the_session(self, guarded: Guarded) -> None:
        browser = await browser_of(guarded, "read")
        (token,) = [each for each in (await guarded.http.get("/v1/tokens")).json()["items"] if each["role"] == "read"]
        await guarded.http.delete(f"/v1/tokens/{token['token_id']}")
        assert (await guarded.http.get("/v1/jobs", headers=browser)).status_code == 401

    async def test_the_cookie_of_the_page_and_that_of_rays_dashboard_do_not_open_each_other(
        self, guarded: Guarded
    ) -> None:
        value = (await sign_in(guarded, ROOT)).cookies[COOKIE]
        guarded.http.cookies.clear()
        ray = await guarded.http.get("/ray/", headers={"Authorization": "", "Cookie": f"fgd_ray={value}"})
        assert ray.status_code == 401
        page = await guarded.http.get("/metrics", headers={"Authorization": "", "Cookie": f"{COOKIE}={value}"})
        assert page.status_code == 401

    async def test_signing_out_removes_the_cookie(self, guarded: Guarded) -> None:
        answer = await guarded.http.delete("/v1/session", headers=await browser_of(guarded, "read"))
        assert answer.status_code == 204
        assert f'{COOKIE}=""; ' in answer.headers["Set-Cookie"]

    async def test_a_sign_in_is_in_the_audit_without_the_token(self, guarded: Guarded) -> None:
        await sign_in(guarded, ROOT)
        (entry,) = (await guarded.http.get("/v1/audit")).json()["items"]
        assert entry["action"] == "sign_in"
        assert ROOT not in str(entry)
