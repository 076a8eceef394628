"""Runs a Ray cluster of several nodes on one machine; each node can be killed, as by a power failure.

The head runs no jobs, so every run is on a node that can be killed.
"""

import os
import random
import secrets
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import httpx
import psutil

from service.dispatcher import head_processes

START_TIMEOUT_S = 300.0
OBJECT_STORE_BYTES = 80_000_000
_HEAD_STARTS = 3


class RayNode:
    """Holds one `ray start` and its child processes, which are found by a mark in their environment."""

    def __init__(self, name: str, arguments: Mapping[str, object], environment: Mapping[str, str], log: Path) -> None:
        self.name = name
        self._log = log
        self.mark = str(uuid.uuid4())
        options = [f"{option}={value}" if value != "" else option for option, value in arguments.items()]
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats", *options],
                env={**environment, head_processes.HEAD_MARK: self.mark},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    @property
    def is_starting(self) -> bool:
        return self._process.poll() is None and "will now block" not in self._log.read_text(errors="replace")

    def processes(self) -> set[psutil.Process]:
        return _marked(self.mark)

    def kill(self) -> int:
        """Send SIGKILL to all processes, as simultaneously as possible; returns their number."""
        killed: set[psutil.Process] = set()
        while living := self.processes():
            for process in living:
                with suppress(psutil.Error):
                    process.suspend()
            for process in living:
                with suppress(psutil.Error):
                    process.kill()
            killed |= living
            time.sleep(0.05)
        self._process.wait()
        return len(killed)


class RayNodes:
    """Runs a head without CPUs, and other nodes.

    Args:
        folder: for logs and the token.
        temp_dir: Ray's folder; a short path, because sockets lie below it.
    """

    def __init__(self, folder: Path, temp_dir: Path, *, cpus_per_node: int) -> None:
        self._folder = folder
        self._temp_dir = temp_dir
        self._cpus_per_node = cpus_per_node
        self._num_started = 0
        self.token = secrets.token_hex(32)
        token_file = folder / "ray_auth_token"
        token_file.write_text(self.token)
        token_file.chmod(0o600)
        self._environment = _environment(token_file)
        self._gcs_port, self._dashboard_port = free_ports(2)
        self.head: RayNode | None = None
        self.nodes: list[RayNode] = []
        """The living nodes."""
        self.all_ever: list[RayNode] = []

    @property
    def dashboard_url(self) -> str:
        return f"http://127.0.0.1:{self._dashboard_port}"

    @property
    def cpus(self) -> int:
        return self._cpus_per_node * len(self.nodes)

    def start(self, num_nodes: int) -> None:
        # On a busy machine Ray gives up a head that has not started after 30 s, which cannot be changed.
        for _ in range(_HEAD_STARTS):
            self.head = self._start_head()
            if self._await_nodes(1, unless=self.head):
                break
            self.head.kill()
        for _ in range(num_nodes):
            self.add_node()
        self._await_nodes(1 + num_nodes)

    def _start_head(self) -> RayNode:
        return self._start_node(
            "head",
            {
                "--head": "",
                "--port": self._gcs_port,
                "--dashboard-host": "127.0.0.1",
                "--dashboard-port": self._dashboard_port,
                "--ray-client-server-port": free_ports(1)[0],
                "--temp-dir": self._temp_dir,
                "--num-cpus": 0,
            },
        )

    def add_node(self) -> RayNode:
        """Start a node. Returns at once, unless another node is still starting."""
        # Nodes share a folder: two that start at the same time take each other's sockets.
        deadline = time.monotonic() + START_TIMEOUT_S
        while any(node.is_starting for node in self.nodes) and time.monotonic() < deadline:
            time.sleep(0.1)
        self._num_started += 1
        node = self._start_node(
            f"node-{self._num_started}",
            {"--address": f"127.0.0.1:{self._gcs_port}", "--num-cpus": self._cpus_per_node},
        )
        self.nodes.append(node)
        return node

    def replace_ended(self) -> None:
        """Replace nodes that have ended by themselves: on a busy machine Ray gives up a node that starts slowly."""
        for node in [node for node in self.nodes if node.has_ended]:
            self.kill(node)
            self.add_node()

    def kill(self, node: RayNode) -> int:
        self.nodes.remove(node)
        return node.kill()

    def stop(self) -> None:
        """Kill all nodes; nothing has to be saved."""
        for node in reversed(self.all_ever):
            node.kill()
        self.nodes.clear()
        self.head = None

    def ask(self, path: str, **query: str) -> httpx.Response:
        return httpx.get(
            f"{self.dashboard_url}{path}",
            params=query,
            headers={"Authorization": f"Bearer {self.token}"},
            timeout=30,
            trust_env=False,
        )

    def _start_node(self, name: str, arguments: Mapping[str, object]) -> RayNode:
        agent_http, agent_grpc, runtime_env, metrics = free_ports(4)
        fixed = {
            "--node-ip-address": "127.0.0.1",
            "--dashboard-agent-listen-port": agent_http,
            "--dashboard-agent-grpc-port": agent_grpc,
            "--runtime-env-agent-port": runtime_env,
            "--metrics-export-port": metrics,
            "--min-worker-port": 0,
            "--max-worker-port": 0,
            "--object-store-memory": OBJECT_STORE_BYTES,
            "--num-gpus": 0,
        }
        node = RayNode(name, {**arguments, **fixed}, self._environment, self._folder / f"ray-{name}.log")
        self.all_ever.append(node)
        return node

    def _await_nodes(self, count: int, *, unless: RayNode | None = None) -> bool:
        """Wait until so many nodes live; returns False if the node `unless` has ended before."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if unless is not None and unless.has_ended:
                return False
            with suppress(httpx.HTTPError, KeyError, ValueError, TypeError):
                rows = self.ask("/api/v0/nodes").json()["data"]["result"]["result"]
                if sum(row["state"] == "ALIVE" for row in rows) >= count:
                    return True
            time.sleep(0.5)
        raise TimeoutError(f"Ray has fewer than {count} nodes after {START_TIMEOUT_S:g} s; logs: {self._folder}")


def free_ports(count: int) -> list[int]:
    """Find free ports below those that the system assigns, so that no other program gets them meanwhile."""
    found: list[int] = []
    for port in random.SystemRandom().sample(range(20_000, 32_768), 2000):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError("no port is free")


def _marked(mark: str) -> set[psutil.Process]:
    """Find all processes with the mark, and their descendants: some processes of Ray overwrite their environment."""
    found: set[psutil.Process] = set()
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get(head_processes.HEAD_MARK) == mark:
                found.add(process)
                found.update(process.children(recursive=True))
    return {process for process in found if head_processes.is_alive(process)}


def _environment(token_file: Path) -> dict[str, str]:
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in ("RAY_ADDRESS", "RAY_AUTH_TOKEN", "PYTHONDONTWRITEBYTECODE") and not name.startswith("FGD_")
    }
    dashboard_metrics, autoscaler_metrics = free_ports(2)
    return inherited | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token_file),
        "RAY_USAGE_STATS_ENABLED": "0",
        # Ray requires it before a second node joins a cluster on the loopback interface.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1",
        "DASHBOARD_METRIC_PORT": str(dashboard_metrics),
        "AUTOSCALER_METRIC_PORT": str(autoscaler_metrics),
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "RAY_JOB_STOP_WAIT_TIME_S": "10",
        "RAY_OBJECT_STORE_ALLOW_SLOW_STORAGE": "1",
        "RAY_prestart_worker_first_driver": "0",
        # By default, Ray notices a dead node after half a minute. After 3 s a node of a busy machine may only be slow.
        "RAY_health_check_period_ms": "1000",
        "RAY_health_check_failure_threshold": "8",
    }
