"""Ray's real dashboard behind our proxy, with Ray's token authentication, for programs and in a real browser."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest
import uvicorn
from browsing import Browser, browser
from pydantic import SecretStr
from runs import end_of, eventually, log_with, submission

from service.clock import utc_now
from service.dispatcher.cluster import RayCluster, Submission
from service.dispatcher.local import LocalRay
from service.server.app import create_app
from service.server.first_token import ensure_admin_token
from service.server.serving import Server
from service.settings import Settings
from service.store import api_tokens, migrate
from service.store.session import Database
from service.store.tokens import TokenMint
from tests.reports.browser import CHROMIUM

pytestmark = pytest.mark.ray

ADMIN = "an-admin-token-for-tests-of-enough-length"
CODE = TokenMint(b"of another").claim("job1-1")


@dataclass(frozen=True)
class ProxiedRay:
    url: str
    reader: str

    def as_(self, token: str) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=60)


@pytest.fixture
async def proxied(cluster: RayCluster, tmp_path: Path) -> AsyncIterator[ProxiedRay]:
    """A control plane that requires tokens, in front of the Ray head of these tests; it dispatches nothing."""
    settings = Settings(home=tmp_path, auth="tokens", admin_token=SecretStr(ADMIN))
    await asyncio.to_thread(migrate.upgrade, settings.database.url)
    database = Database(settings.database.url)
    await ensure_admin_token(settings, database, utc_now)
    token, kept = api_tokens.new_token(
        name="reader", role="read", project=None, created_by="test", expires_at=None, now=utc_now()
    )
    async with database.writing() as session:
        await api_tokens.insert_token(session, kept)
    await database.close()
    app = create_app(settings, cluster)
    server = Server(uvicorn.Config(app, lifespan="off", log_config=None, timeout_graceful_shutdown=3))
    listening = socket.create_server(("127.0.0.1", 0))
    running = asyncio.create_task(server.serve([listening]))
    await eventually(_started(server), bool)
    yield ProxiedRay(f"http://127.0.0.1:{listening.getsockname()[1]}", token)
    server.should_exit = True
    await running
    await app.state.services.database.close()


def _started(server: Server):  # type: ignore[no-untyped-def]
    async def started() -> bool:
        return server.started

    return started


def named(name: str, code: str, **environment: str) -> Submission:
    return replace(submission(code, **environment), metadata={"name": name, "job_id": "a"})


@pytest.fixture(scope="module")
def ended(head: LocalRay) -> Submission:
    """A run for several tests, because each costs Ray seconds; it has printed a claim code."""
    asked = named("a name to find", f"print('{CODE}'); print('words of a run')", FGD_ATTEMPT_CLAIM=CODE)

    async def end() -> None:
        async with RayCluster(await head.start(), head.token) as cluster:
            await cluster.submit(asked)
            await end_of(cluster, asked.submission_id)
            await log_with(cluster, asked.submission_id, "words")

    asyncio.run(end())
    return asked


class TestPrograms:
    async def test_the_page_and_all_its_files_are_served(self, proxied: ProxiedRay) -> None:
        async with proxied.as_(proxied.reader) as http:
            index = await http.get("/ray/")
            assert index.headers["content-type"].startswith("text/html")
            named_files = re.findall(r'(?:src|href)="\./([^"]+)"', index.text)
            assert len(named_files) >= 3, index.text
            for name in named_files:
                file = await http.get(f"/ray/{name}")
                assert file.status_code == 200
                assert int(file.headers["content-length"]) == len(file.content) > 100

    async def test_jobs_and_logs_can_be_read_without_claim_codes(
        self, proxied: ProxiedRay, head: LocalRay, ended: Submission
    ) -> None:
        # Ray itself shows it; otherwise the test below could not fail.
        async with httpx.AsyncClient(headers={"Authorization": f"Bearer {head.token}"}) as around:
            assert CODE in (await around.get(f"{await head.start()}/api/jobs/")).text
        async with proxied.as_(proxied.reader) as http:
            jobs = await http.get("/ray/api/jobs/")
            (job,) = [job for job in jobs.json() if job["submission_id"] == ended.submission_id]
            assert job["metadata"]["name"] == "a name to find"
            log = await http.get(f"/ray/api/jobs/{ended.submission_id}/logs")
            assert "fgdc_[redacted]\nwords of a run\n" in log.json()["logs"]
            node_id = (await http.get("/ray/api/v0/nodes")).json()["data"]["result"]["result"][0]["node_id"]
            file = {"node_id": node_id, "filename": f"job-driver-{ended.submission_id}.log", "lines": "1000"}
            assert "fgdc_[redacted]\nwords of a run\n" in (await http.get("/ray/api/v0/logs/file", params=file)).text
            for path in ("/ray/api/jobs/", "/ray/api/v0/jobs?detail=1", "/ray/api/v0/runtime_envs?detail=1"):
                assert CODE[5:20] not in (await http.get(path)).text

    async def test_a_reader_can_follow_a_log_and_cannot_stop_or_profile_runs(
        self, proxied: ProxiedRay, cluster: RayCluster
    ) -> None:
        talks = "import time; print('one', flush=True); time.sleep(3); print('two', flush=True); time.sleep(240)"
        asked = named("talks", talks)
        await cluster.submit(asked)
        await log_with(cluster, asked.submission_id, "one")
        async with proxied.as_(proxied.reader) as http:
            node_id = (await http.get("/ray/api/v0/nodes")).json()["data"]["result"]["result"][0]["node_id"]
            file = {"node_id": node_id, "filename": f"job-driver-{asked.submission_id}.log", "interval": "0.2"}
            seen = ""
            async with http.stream("GET", "/ray/api/v0/logs/stream", params=file) as answer:
                async for piece in answer.aiter_text():
                    seen += piece
                    if "one" in seen and "two" not in seen:
                        # It arrived while the run was active.
                        job = await cluster.job(asked.submission_id)
                        assert job is not None and not job.is_over
                    if "two" in seen:
                        break
        stop = f"/ray/api/jobs/{asked.submission_id}/stop"
        async with proxied.as_(proxied.reader) as http:
            assert (await http.post(stop)).status_code == 403
            for path in ("/ray/worker/traceback?pid=1", "/ray/test/dump", "/ray/api/v0/delay/1"):
                assert (await http.get(path)).status_code == 403
        job = await cluster.job(asked.submission_id)
        assert job is not None and job.status == "RUNNING"
        async with proxied.as_(ADMIN) as http:
            assert (await http.get("/ray/api/v0/delay/0")).status_code == 200
            assert (await http.post(stop)).json() == {"stopped": True}
        assert (await end_of(cluster, asked.submission_id)).status == "STOPPED"

    async def test_the_token_of_ray_is_not_shown(self, proxied: ProxiedRay, head: LocalRay) -> None:
        async with proxied.as_(ADMIN) as http:
            for path in ("/ray/", "/ray/api/authentication_mode", "/ray/api/version", "/ray/api/jobs/"):
                answer = await http.get(path)
                assert head.token not in answer.text + str(answer.headers.raw)
                assert "set-cookie" not in answer.headers


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
class TestBrowser:
    async def test_a_link_leads_through_the_sign_in_to_the_job(
        self, proxied: ProxiedRay, ended: Submission, tmp_path: Path
    ) -> None:
        async with browser(tmp_path) as tab:
            await tab.open(f"{proxied.url}/ray/#/jobs/{ended.submission_id}")
            await tab.until("document.querySelector('#token') && document.querySelector('form button') && true")
            await tab.run(f"document.querySelector('#token').value = {proxied.reader!r}")
            await tab.run("document.querySelector('form button').click()")
            await tab.until("document.body && document.body.innerText.includes('words of a run')")
            assert await tab.run("location.href") == f"{proxied.url}/ray/#/jobs/{ended.submission_id}"
            assert await tab.run("document.cookie") == ""
            await _moves(tab, f"{proxied.url}/ray/#/jobs", ended.submission_id)
            await _moves(tab, f"{proxied.url}/ray/#/cluster", "127.0.0.1")
            await _moves(tab, f"{proxied.url}/ray/#/overview", "Recent jobs")
            assert "token" not in (await tab.run("document.body.innerText")).lower()
            assert {httpx.URL(url).host for url in tab.requests if url.startswith("http")} == {"127.0.0.1"}
            assert tab.complaints == []


async def _moves(tab: Browser, url: str, text: str) -> None:
    await tab.run(f"location.href = {url!r}")
    await tab.until(f"document.body.innerText.includes({text!r})")
