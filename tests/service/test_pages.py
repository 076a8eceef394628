"""Pages for browsers: they load nothing from other sites, and every response has security headers."""

import asyncio
import json
import re
import subprocess
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
from control_plane import SHAPES, ControlPlane, train_spec

from tests.reports.browser import CHROMIUM
from tests.service.served_apart import served_apart

pytestmark = pytest.mark.one_database


def policy(answer: httpx.Response) -> dict[str, str]:
    """Return the directives of a response's content policy."""
    parts = [part.strip().partition(" ") for part in answer.headers["Content-Security-Policy"].split(";")]
    return {name: sources for name, _, sources in parts}


class TestHeaders:
    @pytest.mark.parametrize(
        ("method", "path"),
        [
            *[
                ("GET", path)
                for path in ("/v1/jobs", "/docs", "/docs/swagger-ui.css", "/openapi.json", "/livez", "/metrics")
            ],
            *[("GET", path) for path in ("/nowhere", "/v1/jobs/none", "/v1/jobs?limit=0", "/v1/jobs/%00", "/redoc")],
            *[("HEAD", "/v1/jobs"), ("DELETE", "/v1/jobs"), ("POST", "/v1/jobs"), ("OPTIONS", "/v1/jobs")],
        ],
    )
    async def test_every_response_has_them(self, plane: ControlPlane, method: str, path: str) -> None:
        answer = await plane.http.request(method, path)
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "same-origin"
        assert answer.headers["X-Frame-Options"] == "DENY"
        found = policy(answer)
        assert (found["default-src"], found["frame-ancestors"]) == ("'none'", "'none'")
        assert "unsafe" not in answer.headers["Content-Security-Policy"]

    async def test_a_report_has_its_policy_as_a_header_too(self, plane: ControlPlane) -> None:
        job_id = await plane.submit(train_spec())
        await plane.http.post("/v1/datasets", json={"name": "blood", "data": SHAPES})
        for path in (f"/v1/jobs/{job_id}/report?format=html", "/v1/datasets/blood/page"):
            answer = await plane.http.get(path)
            (own,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', answer.text)
            assert answer.headers["Content-Security-Policy"] == f"{own}; frame-ancestors 'none'"
            assert "'sha256-" in own and "unsafe" not in own


class TestDocs:
    async def test_the_page_loads_from_this_server_only(self, plane: ControlPlane) -> None:
        page = (await plane.http.get("/docs")).text
        assert "//" not in re.sub(r"<!doctype html>", "", page)
        loaded = re.findall(r'<(?:link|script)[^>]* (?:src|href)="([^"]+)"', page)
        assert len(loaded) == 6
        for path in loaded:
            assert (await plane.http.get(f"/{path}")).status_code == 200, path

    async def test_redoc_redirects_to_it(self, plane: ControlPlane) -> None:
        answer = await plane.http.get("/redoc")
        assert (answer.status_code, answer.headers["Location"]) == (308, "docs")

    async def test_other_requests_are_answered_while_the_description_is_made(
        self, plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        begun, may_end = asyncio.Event(), threading.Event()
        loop = asyncio.get_running_loop()

        def openapi() -> dict[str, bool]:
            loop.call_soon_threadsafe(begun.set)
            return {"was_answered": may_end.wait(20)}

        monkeypatch.setattr(plane.app, "openapi", openapi)
        # The client of `plane` compares each answer with the description.
        transport = httpx.ASGITransport(plane.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            described = asyncio.create_task(client.get("/openapi.json"))
            await begun.wait()
            assert (await client.get("/livez")).status_code == 200
            may_end.set()
            assert (await described).json() == {"was_answered": True}

    @pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine to open the page")
    def test_a_browser_shows_all_operations_without_errors(self, tmp_path: Path) -> None:
        (tmp_path / "home").mkdir()
        with served_apart(tmp_path / "home") as server:
            here = f"http://127.0.0.1:{server.port}"
            schema = httpx.get(f"{here}/openapi.json", timeout=60).json()
            done = self.opened(f"{here}/docs", tmp_path)
        shown = re.findall(r'id="operations-(?!tag-)[^"]*"', done.stdout)
        assert len(shown) == sum(len(operations) for operations in schema["paths"].values())
        assert re.findall(r"CONSOLE[^\]]*\] (.*)", done.stderr) == []
        urls = self.requested(tmp_path / "network.json")
        assert f"{here}/docs/swagger-ui-bundle.js" in urls
        assert {url for url in urls if not url.startswith((here, "data:", "blob:"))} == set()

    @staticmethod
    def opened(url: str, folder: Path) -> subprocess.CompletedProcess[str]:
        assert CHROMIUM is not None
        return subprocess.run(
            [
                *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"),
                *("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", f"--user-data-dir={folder / 'profile'}"),
                *(f"--log-net-log={folder / 'network.json'}", "--enable-logging=stderr"),
                *("--virtual-time-budget=30000", "--dump-dom", url),
            ],
            capture_output=True,
            text=True,
            timeout=240,
            check=True,
        )

    @staticmethod
    def requested(log: Path) -> set[str]:
        """Return the URLs that the page requested; the browser's own requests have no origin."""
        events: list[dict[str, Any]] = json.loads(log.read_text())["events"]
        begun = [event["params"] for event in events if isinstance(event.get("params"), dict)]
        return {
            each["url"] for each in begun if "url" in each and each.get("initiator", "not an origin") != "not an origin"
        }
