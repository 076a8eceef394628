"""The two systems under test: how each one starts, and which requests do the same in each."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.control_plane.engines import Databases
from benchmarks.control_plane.http import Connection
from fgd_core.spec.jobs import JOB_SPEC
from service.clock import utc_now
from service.dispatcher.leasing import lease
from service.store import jobs, migrate
from service.store.session import Database
from service.store.tokens import TokenMint

SPEC = {
    "kind": "train",
    "name": "a training",
    "detector": {"type": "retinanet"},
    "data": {"type": "shapes", "num_train": 40, "num_val": 10},
    "training": {"batch_size": 8},
}
CURVES = [f"loss/{number}" for number in range(10)]
_START_TIMEOUT_S = 120.0


@dataclass(frozen=True, kw_only=True)
class Request:
    """Holds one HTTP request."""

    method: str
    path: str
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)


class System(ABC):
    """Runs one server process, with runs that report to it."""

    name: str

    def __init__(self, databases: Databases, folder: Path) -> None:
        self._databases = databases
        self._folder = folder
        self.port = _free_port()

    @abstractmethod
    def prepare(self, num_runs: int) -> None:
        """Prepare the database before the server starts."""

    @abstractmethod
    def command(self) -> tuple[list[str], dict[str, str]]:
        """Return the command that starts the server, and its environment variables."""

    @abstractmethod
    def began(self, num_runs: int) -> None:
        """Create the runs when the server answers."""

    @abstractmethod
    def log(self, run: int, first_step: int, num_steps: int, curves: list[str]) -> Request:
        """Return a request that logs `num_steps` points of each curve of a run."""

    @abstractmethod
    def create(self) -> Request:
        """Return a request that submits a job, or creates a run."""

    @abstractmethod
    def chart(self, run: int, curve: str) -> Request:
        """Return a request for a curve that the server has thinned, as its web page sends it."""

    @contextmanager
    def running(self, num_runs: int) -> Iterator[None]:
        """Run the server while the block lasts."""
        self.prepare(num_runs)
        command, environment = self.command()
        with (self._folder / f"{self.name}.log").open("ab") as log:
            process = subprocess.Popen(
                command, stdout=log, stderr=log, env=os.environ | environment, start_new_session=True
            )
        try:
            self._wait_for(process)
            self.began(num_runs)
            yield
        finally:
            process.terminate()
            process.wait(timeout=30)

    def _wait_for(self, process: subprocess.Popen[bytes]) -> None:
        deadline_s = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline_s and process.poll() is None:
            try:
                with Connection(self.port) as connection:
                    connection.send(Request(method="GET", path="/health"))
                return
            except OSError:
                time.sleep(0.1)
        raise SystemExit(f"{self.name} does not start; see {self._folder}/{self.name}.log")


class Ours(System):
    """Runs fgd's server."""

    name = "fgd"

    def __init__(self, databases: Databases, folder: Path) -> None:
        super().__init__(databases, folder)
        self.job_ids: list[str] = []
        self._mint = TokenMint.at(folder / "secret")
        self._sequences: dict[int, int] = {}

    def prepare(self, num_runs: int) -> None:
        migrate.upgrade(self._databases.ours)
        self.job_ids = asyncio.run(_leased_jobs(self._databases.ours, self._mint, num_runs))

    def command(self) -> tuple[list[str], dict[str, str]]:
        environment = {
            "FGD_HOME": str(self._folder),
            "FGD_DATABASE_URL": self._databases.ours,
            "FGD_PORT": str(self.port),
            # The benchmark plays the runs: the server must not mark one lost that pauses between two workloads.
            "FGD_HEARTBEAT_S": "3600",
            "FGD_HEARTBEAT_TIMEOUT_S": "86400",
        }
        return [sys.executable, "-m", "benchmarks.control_plane.serve"], environment

    def began(self, num_runs: int) -> None:
        with Connection(self.port) as connection:
            for run in range(num_runs):
                start = {"kind": "run_started", "host": "here", "pid": 1, "python": "3"}
                connection.ok(self.report(run, [start]))

    def log(self, run: int, first_step: int, num_steps: int, curves: list[str]) -> Request:
        steps = list(range(first_step, first_step + num_steps))
        values = {curve: [step * 0.001 for step in steps] for curve in curves}
        return self.report(run, [{"kind": "metrics_logged", "steps": steps, "values": values}])

    def report(self, run: int, events: list[dict[str, Any]]) -> Request:
        """Return a request that reports events of a run."""
        at = utc_now().isoformat()
        sequence = self._sequences.get(run, 0)
        reported = [{"sequence": sequence + i, "at": at, "event": event} for i, event in enumerate(events, start=1)]
        self._sequences[run] = sequence + len(events)
        attempt_id = f"{self.job_ids[run]}-1"
        headers = {"Authorization": f"Bearer {self._mint.token(attempt_id)}"}
        return Request(
            method="POST", path=f"/v1/attempts/{attempt_id}/events", body=_json({"events": reported}), headers=headers
        )

    def create(self) -> Request:
        return Request(method="POST", path="/v1/jobs", body=_json(SPEC))

    def chart(self, run: int, curve: str) -> Request:
        return Request(method="GET", path=f"/v1/jobs/{self.job_ids[run]}/metrics?name={curve}&max_points=1000")


class MLflow(System):
    """Runs MLflow's tracking server."""

    name = "mlflow"

    def __init__(self, databases: Databases, folder: Path, program: Path) -> None:
        super().__init__(databases, folder)
        self._program = program
        self.run_ids: list[str] = []

    def prepare(self, num_runs: int) -> None:
        pass

    def command(self) -> tuple[list[str], dict[str, str]]:
        command = [str(self._program), "server", "--workers", "1", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--backend-store-uri", self._databases.mlflow]
        command += ["--artifacts-destination", str(self._folder / "mlflow-artifacts")]
        return command, {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}

    def began(self, num_runs: int) -> None:
        with Connection(self.port) as connection:
            self.run_ids = [connection.ok(self.create())["run"]["info"]["run_id"] for _ in range(num_runs)]

    def log(self, run: int, first_step: int, num_steps: int, curves: list[str]) -> Request:
        now_ms = time.time_ns() // 1_000_000
        points = [
            {"key": curve, "value": step * 0.001, "timestamp": now_ms, "step": step}
            for step in range(first_step, first_step + num_steps)
            for curve in curves
        ]
        if len(points) == 1:
            body, what = {"run_id": self.run_ids[run], **points[0]}, "log-metric"
        else:
            body, what = {"run_id": self.run_ids[run], "metrics": points}, "log-batch"
        return Request(method="POST", path=f"/api/2.0/mlflow/runs/{what}", body=_json(body))

    def create(self) -> Request:
        body = {"experiment_id": "0", "run_name": SPEC["name"], "start_time": time.time_ns() // 1_000_000}
        return Request(method="POST", path="/api/2.0/mlflow/runs/create", body=_json(body))

    def chart(self, run: int, curve: str) -> Request:
        query = f"run_ids={self.run_ids[run]}&metric_key={curve}&max_results=1000"
        return Request(method="GET", path=f"/ajax-api/2.0/mlflow/metrics/get-history-bulk-interval?{query}")


async def _leased_jobs(url: str, mint: TokenMint, num_jobs: int) -> list[str]:
    """Create jobs with running attempts, as the dispatcher does."""
    spec = JOB_SPEC.validate_python(SPEC)
    database = Database(url)
    job_ids = [f"{number:012x}" for number in range(num_jobs)]
    for job_id in job_ids:
        async with database.writing() as session:
            await jobs.insert_job(
                session,
                job_id=job_id,
                spec=spec,
                spec_sha256="",
                idempotency_key=None,
                submitted_by="",
                needs=[],
                waits_for=[],
                now=utc_now(),
            )
            await lease(session, job_id, mint, lambda submission_id: f"http://nowhere/{submission_id}", utc_now())
    await database.close()
    return job_ids


def _json(body: object) -> bytes:
    return json.dumps(body).encode()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
