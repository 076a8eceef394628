"""Starts the system under test from docker-compose.yml, separate from everything else on this machine."""

import dataclasses
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deploy.verifying import engine
from deploy.verifying.api import Api, VerificationError
from deploy.verifying.engine import ROOT, Compose
from deploy.verifying.results import Results

REPLICAS = 2
WORKERS = 2


@dataclasses.dataclass
class System:
    """Holds the running system, and the results so far."""

    compose: Compose
    results: Results
    api: Api
    has_grafana: bool
    folder: Path
    """Holds the secrets of this verification."""

    def up(self) -> None:
        services = ["postgres", "migrate", "api", "gateway", "ray-head", "ray-worker", "prometheus"]
        scale = ["--scale", f"api={REPLICAS}", "--scale", f"ray-worker={WORKERS}"]
        self.compose("up", "--detach", "--no-build", *scale, *services, *(["grafana"] if self.has_grafana else []))

    def wait_ready(self, *, timeout_s: float = 300) -> float:
        """Wait until the API and Ray answer and every node can take a run; returns the seconds that it took."""
        began = time.monotonic()
        wait_for("the system to be ready for a run", self._is_ready, timeout_s=timeout_s)
        return time.monotonic() - began

    def num_nodes(self) -> int:
        answer = self.api.ask("GET", "/ray/api/v0/nodes?limit=1000")
        rows = answer.json["data"]["result"]["result"] if answer.status == 200 else []
        return sum(row["state"] == "ALIVE" for row in rows)

    def worker_of(self, job_id: str) -> str:
        """Return the container in which the job's newest attempt runs."""
        started = [event for event in self.api.events(job_id) if event["kind"] == "run_started"]
        return self.container_at(started[-1]["data"]["host"])

    def container_at(self, host: str) -> str:
        """Return the worker's container with this host name, which runs report."""
        for container in self.compose.containers("ray-worker"):
            if engine.inspect(container)["Config"]["Hostname"] == host:
                return container
        raise VerificationError(f"no ray-worker has the host name {host}")

    def _is_ready(self) -> bool:
        ready = self.api.ask("GET", "/readyz")
        if ready.status != 200 or ready.json["ray"].startswith("unreachable"):
            return False
        return self.num_nodes() == WORKERS + 1


def prepared(results: Results, *, project: str, port: int, images: dict[str, str], has_grafana: bool) -> System:
    """Prepare a system with its own secrets, in a temporary folder, and its own ports."""
    folder = Path(tempfile.mkdtemp(prefix="fgd-verify-"))
    engine.run(str(ROOT / "deploy" / "init"), str(folder))
    lines = (folder / ".env").read_text().splitlines()
    env = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    env |= {
        "FGD_SECRETS_DIR": str(folder / "secrets"),
        "FGD_DATA": str(folder / "data"),
        # The widest binding, so that the isolation is checked in the weakest configuration.
        "FGD_BIND": "0.0.0.0",
        "FGD_HOST_PORT": str(port),
        "GRAFANA_HOST_PORT": str(port + 1),
        "FGD_EXTERNAL_URL": f"http://127.0.0.1:{port}",
        "RAY_WORKER_CPUS": "1",
        "RAY_WORKER_MEMORY": "4g",
        "RAY_SHM_SIZE": "512mb",
        **images,
    }
    (folder / "data").mkdir()
    api = Api(f"http://127.0.0.1:{port}", env["FGD_ADMIN_TOKEN"])
    return System(Compose(project, env, folder / ".env"), results, api, has_grafana, folder)


def wait_for(what: str, holds: Callable[[], Any], *, timeout_s: float, every_s: float = 0.5) -> float:
    """Wait until `holds()` is true; returns the seconds that it took.

    Raises:
        VerificationError: it is still false after `timeout_s`.
    """
    began = time.monotonic()
    while not holds():
        if time.monotonic() - began > timeout_s:
            raise VerificationError(f"waited {timeout_s:.0f} s for {what}")
        time.sleep(every_s)
    return time.monotonic() - began


def crash(container: str) -> None:
    """Kill its process, as a crash does: Docker does not restart a container after `docker kill`."""
    pid = int(engine.inspect(container)["State"]["Pid"])
    try:
        os.kill(pid, signal.SIGKILL)
    except PermissionError:
        subprocess.run(["sudo", "kill", "-KILL", str(pid)], check=True)
