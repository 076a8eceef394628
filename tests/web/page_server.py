"""A control plane in a process of its own for tests in a browser, which can be killed, and a run that reports to it."""

import base64
import hashlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import Page

from service.store.tokens import TokenMint
from tests.service.served_apart import ROOT, Apart

OpenPage = Callable[..., Page]
"""Opens a path in a new window, signed in; the fixture `open_page`."""
ADMIN_TOKEN = "an-admin-token-of-32-characters-or-more"
# Runs of a test send no heartbeats.
_NO_HEARTBEATS = {"FGD_HEARTBEAT_S": "3600", "FGD_HEARTBEAT_TIMEOUT_S": "7200"}
_ENVIRONMENT = {
    "FGD_AUTH": "tokens",
    "FGD_ADMIN_TOKEN": ADMIN_TOKEN,
    "FGD_DATA_ROOTS": "/data",
    "FGD_WEBHOOKS_ALLOW_PRIVATE": "1",
} | _NO_HEARTBEATS
SCORES = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "ar1", "ar10", "ar100", "ar_small", "ar_medium")


def train_spec(name: str, **changes: Any) -> dict[str, Any]:
    spec = {"kind": "train", "name": name, "detector": {"type": "retinanet"}, "training": {"batch_size": 8}}
    return spec | {"data": {"type": "shapes", "num_train": 40, "num_val": 10}} | changes


def distill_spec(name: str, teacher: str, **changes: Any) -> dict[str, Any]:
    spec = train_spec(name) | {"kind": "distill", "student": {"type": "retinanet"}, "method": {"type": "fgd"}}
    del spec["detector"]
    return spec | {"teacher": {"checkpoint": f"job:{teacher}/best"}} | changes


@dataclass
class PageServer:
    """A control plane that needs tokens, with its dispatcher and a cluster in memory."""

    home: Path
    port: int = 0
    cpus: int = 64
    """Enough for the runs of all tests at once."""
    _process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it; at the port that it had before, if it was killed."""
        with socket.create_server(("127.0.0.1", self.port)) as listening, (self.home / "server.log").open("a") as log:
            self.port = listening.getsockname()[1]
            arguments = [str(self.home), str(listening.fileno()), str(self.cpus)]
            command = [sys.executable, "-m", "tests.service.served_apart", *arguments]
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=ROOT,
                pass_fds=[listening.fileno()],
                env=os.environ | _ENVIRONMENT,
            )
        self.get("/v1/whoami")

    def kill(self) -> None:
        self._signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait()

    def pause(self) -> None:
        """Stop it where it is; it uses no processor time until `go_on`."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def cpu_s(self) -> float:
        """Return the processor time that the server has used so far."""
        assert self._process is not None
        return Apart(self.port, self._process.pid).cpu_s()

    def get(self, path: str, token: str = ADMIN_TOKEN, **query: Any) -> Any:
        return self.request("GET", path, token=token, params=query)

    def request(self, method: str, path: str, *, token: str = ADMIN_TOKEN, **options: Any) -> Any:
        return self._answer(method, path, token=token, **options).json()

    def num_streams(self) -> int:
        """Return how many clients follow the events of all jobs now."""
        text = self._answer("GET", "/metrics", token=ADMIN_TOKEN).text
        return int(re.findall(r'^fgd_\w*readers{\w+="all"} (\d+)', text, re.MULTILINE)[0])

    def _answer(self, method: str, path: str, *, token: str, **options: Any) -> httpx.Response:
        answer = httpx.request(
            method,
            f"{self.url}{path}",
            headers={"Authorization": f"Bearer {token}", "Accept": "application/json"},
            timeout=120,
            **options,
        )
        assert answer.is_success, answer.text
        return answer

    def token(self, role: str) -> str:
        made = self.request("POST", "/v1/tokens", json={"name": role, "role": role})
        return str(made["token"])

    def submit(self, name: str, **changes: Any) -> str:
        return self.submit_spec(train_spec(name, **changes))

    def submit_spec(self, spec: Mapping[str, Any]) -> str:
        return str(self.request("POST", "/v1/jobs", json=spec)["job_id"])

    def started(self, name: str, **changes: Any) -> "ReportingRun":
        """Submit a job, and return its run once the dispatcher has started it."""
        return self.run_of(self.submit(name, **changes))

    def run_of(self, job_id: str) -> "ReportingRun":
        ends_at = time.monotonic() + 60
        while not (attempts := self.get(f"/v1/jobs/{job_id}")["attempts"]):
            assert time.monotonic() < ends_at, "the dispatcher starts no job"
            time.sleep(0.1)
        run = ReportingRun(self, job_id, attempts[-1]["attempt_id"])
        run.report({"kind": "run_started", "host": "here", "pid": 1, "python": "3.11"})
        return run


@dataclass
class ReportingRun:
    """Sends what a run sends."""

    server: PageServer
    job_id: str
    attempt_id: str
    _sequence: int = field(default=0)

    def report(self, *events: Mapping[str, Any]) -> None:
        batch = [self._numbered(event) for event in events]
        token = TokenMint.at(self.server.home / "secret").token(self.attempt_id)
        self.server.request("POST", f"/v1/attempts/{self.attempt_id}/events", token=token, json={"events": batch})

    def trains(self, steps: Iterable[int], *, total: int, epochs: int = 4, **curves: Sequence[float]) -> None:
        """Report points of curves, and the progress at the last of them."""
        self.report(*training_events(steps, curves, total=total, epochs=epochs))

    def evaluates(self, step: int, ap: float, *, epoch: int = 1) -> None:
        scores = dict.fromkeys(SCORES) | {"ap": ap, "ap50": ap + 0.15, "ar_large": None}
        self.report({"kind": "evaluated", "epoch": epoch, "step": step, "scores": scores})

    def saves(self, name: str, content: bytes, *, media_type: str = "application/octet-stream") -> None:
        """Upload a file, and report it as an artifact."""
        digest = hashlib.sha256(content)
        declared = {"Repr-Digest": f"sha-256=:{base64.b64encode(digest.digest()).decode()}:"}
        path = f"attempts/1/{name}"
        token = TokenMint.at(self.server.home / "secret").token(self.attempt_id)
        url = f"{self.server.url}/v1/attempts/{self.attempt_id}/files/{path}"
        answer = httpx.put(url, content=content, headers={"Authorization": f"Bearer {token}"} | declared, timeout=120)
        assert answer.is_success, answer.text
        saved = {"name": name, "uri": answer.json()["uri"], "media_type": media_type}
        self.report(
            {"kind": "artifact_saved", "sha256": digest.hexdigest(), "size_bytes": len(content)} | saved,
        )

    def ends(self, outcome: str = "succeeded", **more: Any) -> None:
        """Report the final event, and wait until the job is over."""
        self.report({"kind": "run_finished", "outcome": outcome} | more)
        ends_at = time.monotonic() + 60
        while self.server.get(f"/v1/jobs/{self.job_id}")["ended_at"] is None:
            assert time.monotonic() < ends_at, "the job does not end"
            time.sleep(0.1)

    def _numbered(self, event: Mapping[str, Any]) -> dict[str, Any]:
        self._sequence += 1
        return {"sequence": self._sequence, "at": datetime.now(UTC).isoformat(), "event": event}


def training_events(
    steps: Iterable[int], curves: Mapping[str, Sequence[float]], *, total: int, epochs: int = 4
) -> list[Mapping[str, Any]]:
    """Return the events with points of curves, and with the progress at the last of them."""
    numbers = list(steps)
    at = {"step": numbers[-1], "steps": total, "epoch": 1 + numbers[-1] * epochs // total, "epochs": epochs}
    speed = {"images_per_s": 41.2, "eta_s": (total - numbers[-1]) / 5, "learning_rate": 0.01}
    return [
        {"kind": "metrics_logged", "steps": numbers, "values": {name: list(of) for name, of in curves.items()}},
        {"kind": "progress", "values": {name: of[-1] for name, of in curves.items()}} | at | speed,
    ]
