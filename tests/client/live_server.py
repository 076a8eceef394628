"""The real server behind a real socket, in a thread; and a run that reports to it as workers do."""

import asyncio
import ssl
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import httpx
import uvicorn

from fgd_core.spec.attempts import EventBatch, ReportedEvent
from fgd_core.spec.base import Fact
from fgd_core.spec.events import RunFinished, RunStarted
from service.server.app import create_app
from service.server.serving import Server
from service.settings import Settings
from tests import databases
from tests.held_port import HeldPort
from tests.service.memory_cluster import MemoryCluster
from tests.shared_routes import with_shared_routes

# Loading those of httpx takes 20 ms of CPU time for every request.
_NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class LiveServer:
    """Runs the server in a thread, in a new home with a migrated SQLite file.

    After a stop it can start again with the same port, database and cluster.

    Args:
        certificate: the file with certificate and key, for a server with TLS.
    """

    def __init__(self, home: Path, *, certificate: Path | None = None) -> None:
        self._held = HeldPort()
        self.port = self._held.number
        self.url = f"{'http' if certificate is None else 'https'}://127.0.0.1:{self.port}"
        self._certificate = certificate
        self.settings = Settings(home=home, port=self.port, tick_s=0.05)
        self.cluster = MemoryCluster()
        self._server: Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        if not (self.settings.home / "fgd.db").exists():
            self.settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
            databases.write_empty(self.settings.home / "fgd.db")
        config = uvicorn.Config(
            with_shared_routes(create_app(self.settings, self.cluster)),
            host="127.0.0.1",
            port=self.port,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=1,
            ssl_certfile=self._certificate,
        )
        self._server = server = Server(config)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        eventually(lambda: server.started)

    def stop(self) -> None:
        assert self._server is not None and self._thread is not None
        self._server.should_exit = True
        self._thread.join(timeout=240)
        assert not self._thread.is_alive(), "\n".join(str(task) for task in asyncio.all_tasks(self._loop))

    def _serve(self) -> None:
        assert self._server is not None
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._server.serve())

    def run_of(self, job_id: str) -> "Run":
        """Return the run that the cluster was asked to start for a job."""
        eventually(lambda: any(s.submission_id.startswith(f"fgd-{job_id}-") for s in self.cluster.submissions))
        submission = [s for s in self.cluster.submissions if s.submission_id.startswith(f"fgd-{job_id}-")][-1]
        attempt_id = submission.environment["FGD_ATTEMPT_ID"]
        claimed = httpx.post(
            f"{self.url}/v1/attempts/{attempt_id}/claim",
            # Always the same: a test may call this twice.
            json={"secret": "s" * 32},
            headers={"Authorization": f"Bearer {submission.environment['FGD_ATTEMPT_CLAIM']}"},
            verify=_NO_CERTIFICATES,
        )
        return Run(self.url, attempt_id, claimed.raise_for_status().json()["token"])


class Run:
    """Reports events to the server as the process of a run does."""

    def __init__(self, url: str, attempt_id: str, token: str) -> None:
        self._url = f"{url}/v1/attempts/{attempt_id}/events"
        self._headers = {"Authorization": f"Bearer {token}"}
        self._sequence = 0

    def report(self, *events: Fact) -> None:
        batch = []
        for event in events:
            self._sequence += 1
            dumped = event.model_dump(mode="json")
            batch.append(ReportedEvent(sequence=self._sequence, at=datetime.now(UTC), event=dumped))
        body = EventBatch(events=batch).model_dump(mode="json")
        httpx.post(self._url, json=body, headers=self._headers, verify=_NO_CERTIFICATES).raise_for_status()

    def start(self) -> None:
        self.report(RunStarted(host="here", pid=1, python="3.11"))

    def succeed(self) -> None:
        self.report(RunFinished(outcome="succeeded"))


def eventually(condition: Callable[[], bool], timeout_s: float = 240.0) -> None:
    """Wait until a condition is true; fail after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"still false after {timeout_s} s"
        time.sleep(0.01)
