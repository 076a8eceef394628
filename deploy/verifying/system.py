"""The system under trial: brought up from docker-compose.yml beside whatever else runs on this machine."""

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
from deploy.verifying.api import Api, UnmetError
from deploy.verifying.engine import ROOT, Compose
from deploy.verifying.ledger import Ledger

REPLICAS = 2
WORKERS = 2


@dataclasses.dataclass
class System:
    compose: Compose
    ledger: Ledger
    api: Api
    has_grafana: bool
    folder: Path
    """With the secrets of this trial."""

    def up(self) -> None:
        services = ["postgres", "migrate", "api", "gateway", "ray-head", "ray-worker", "prometheus"]
        scale = ["--scale", f"api={REPLICAS}", "--scale", f"ray-worker={WORKERS}"]
        self.compose("up", "--detach", "--no-build", *scale, *services, *(["grafana"] if self.has_grafana else []))

    def wait_ready(self, *, timeout_s: float = 300) -> float:
        """Seconds until the API answers, Ray with it, and every node can take a run."""
        began = time.monotonic()
        wait_for("all that is needed to take a run", self._is_ready, timeout_s=timeout_s)
        return time.monotonic() - began

    def num_nodes(self) -> int:
        answer = self.api.ask("GET", "/ray/api/v0/nodes?limit=1000")
        rows = answer.json["data"]["result"]["result"] if answer.status == 200 else []
        return sum(row["state"] == "ALIVE" for row in rows)

    def worker_of(self, job_id: str) -> str:
        """The container in which the job's newest attempt runs."""
        started = [event for event in self.api.events(job_id) if event["kind"] == "run_started"]
        host = started[-1]["data"]["host"]
        for container in self.compose.containers("ray-worker"):
            if engine.inspect(container)["Config"]["Hostname"] == host:
                return container
        raise UnmetError(f"no ray-worker is called {host}, where job {job_id} says that it runs")

    def _is_ready(self) -> bool:
        ready = self.api.ask("GET", "/readyz")
        if ready.status != 200 or ready.json["ray"].startswith("unreachable"):
            return False
        return self.num_nodes() == WORKERS + 1


def prepared(ledger: Ledger, *, project: str, port: int, images: dict[str, str], has_grafana: bool) -> System:
    """Secrets of its own in a folder that is gone afterwards, and ports of its own."""
    folder = Path(tempfile.mkdtemp(prefix="fgd-verify-"))
    engine.run(str(ROOT / "deploy" / "init"), str(folder))
    lines = (folder / ".env").read_text().splitlines()
    env = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    env |= {
        "FGD_SECRETS_DIR": str(folder / "secrets"),
        "FGD_DATA": str(folder / "data"),
        # So that the walls are tried where they are thinnest.
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
    return System(Compose(project, env, folder / ".env"), ledger, api, has_grafana, folder)


def wait_for(what: str, is_so: Callable[[], Any], *, timeout_s: float, every_s: float = 0.5) -> float:
    """Seconds that it took.

    Raises:
        UnmetError: it is not so after `timeout_s`.
    """
    began = time.monotonic()
    while not is_so():
        if time.monotonic() - began > timeout_s:
            raise UnmetError(f"waited {timeout_s:.0f} s for {what}")
        time.sleep(every_s)
    return time.monotonic() - began


def crash(container: str) -> None:
    """End it as a crash would: `docker kill` would count as somebody's wish, and Docker would not start it again."""
    pid = int(engine.inspect(container)["State"]["Pid"])
    try:
        os.kill(pid, signal.SIGKILL)
    except PermissionError:
        subprocess.run(["sudo", "kill", "-KILL", str(pid)], check=True)
