"""A real Ray whose autoscaler adds and removes nodes: further raylets on this machine, by Ray's own fake provider.

Ray's `AutoscalingCluster` does the same, but reads a file that its wheel lacks, and calls `ray stop`, which ends every
Ray on the machine.
"""

import asyncio
import json
import os
import random
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from fgd_core.errors import ClusterError
from service.dispatcher import head_processes
from service.dispatcher.cluster import RayCluster
from service.jobs.cluster import NodeType

START_TIMEOUT_S = 240.0


class GrowingRay(NamedTuple):
    """The address of a running head, which has no CPUs itself."""

    url: str
    token: str

    def nodes(self) -> list[tuple[float, float]]:
        """Return (CPUs, GPUs) of each live node except the head."""

        async def ask() -> list[tuple[float, float]]:
            async with RayCluster(self.url, self.token) as cluster:
                return [node.shape for node in (await cluster.capacity()).nodes if any(node.shape)]

        return asyncio.run(ask())

    def runs(self) -> dict[str, bool]:
        """Return whether each run is over, by its submission id."""

        async def ask() -> dict[str, bool]:
            async with RayCluster(self.url, self.token) as cluster:
                return {id_: run.is_over for id_, run in (await cluster.jobs()).items()}

        return asyncio.run(ask())


@contextmanager
def growing_ray(node_types: Sequence[NodeType], *, idle_s: float) -> Iterator[GrowingRay]:
    """Run a head without worker nodes, whose autoscaler may add nodes of these kinds.

    Args:
        idle_s: seconds after which it removes a node on which nothing runs.
    """
    # The paths of Ray's sockets must be short.
    home = Path(tempfile.mkdtemp(prefix="fgd-grow-"))
    mark, ports = str(uuid.uuid4()), _free_ports(7)
    token = secrets.token_hex(32)
    (home / "token").write_text(token)
    (home / "autoscaling.json").write_text(json.dumps(_configuration(node_types, idle_s, gcs_port=ports[0])))
    with (home / "ray.log").open("wb") as log:
        child = subprocess.Popen(
            _command(home, ports),
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=home,
            env=_environment(home, mark, ports),
        )
    running = GrowingRay(f"http://127.0.0.1:{ports[1]}", token)
    try:
        if not asyncio.run(_answers(running, child)):
            raise AssertionError(f"Ray did not start: {(home / 'ray.log').read_text()[-2000:]}")
        yield running
    finally:
        head_processes.end_all(mark, home, session=child.pid, grace_s=2.0)
        child.wait()
        shutil.rmtree(home, ignore_errors=True)


async def _answers(ray: GrowingRay, child: "subprocess.Popen[bytes]") -> bool:
    """Wait until the head's node is alive. Returns False if its process ends before that."""
    async with RayCluster(ray.url, ray.token) as cluster, asyncio.timeout(START_TIMEOUT_S):
        while child.poll() is None:
            with suppress(ClusterError):
                if (await cluster.capacity()).nodes:
                    return True
            await asyncio.sleep(0.5)
    return False


def _free_ports(number: int) -> list[int]:
    """Return free ports that the system does not assign to others: Ray opens some of them seconds later."""
    found: list[int] = []
    for port in random.sample(range(20_000, 32_768), 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
    return found[:number]


def _command(home: Path, ports: Sequence[int]) -> list[str]:
    gcs, dashboard, agent_http, agent_grpc, runtime_env, client, metrics = ports
    options: Mapping[str, object] = {
        "--port": gcs,
        "--node-ip-address": "127.0.0.1",
        "--temp-dir": home / "ray",
        "--dashboard-host": "127.0.0.1",
        "--dashboard-port": dashboard,
        "--dashboard-agent-listen-port": agent_http,
        "--dashboard-agent-grpc-port": agent_grpc,
        "--runtime-env-agent-port": runtime_env,
        "--ray-client-server-port": client,
        "--metrics-export-port": metrics,
        "--min-worker-port": 0,
        "--max-worker-port": 0,
        "--object-store-memory": 100_000_000,
        "--num-cpus": 0,
        "--num-gpus": 0,
        "--autoscaling-config": home / "autoscaling.json",
    }
    start = (sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats")
    return [*start, *(f"{name}={value}" for name, value in options.items())]


def _environment(home: Path, mark: str, ports: Sequence[int]) -> dict[str, str]:
    return os.environ | {
        head_processes.HEAD_MARK: mark,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(home / "token"),
        "RAY_USAGE_STATS_ENABLED": "0",
        # Keeps all servers of Ray on the loopback interface.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_FAKE_CLUSTER": "1",
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "RAY_OBJECT_STORE_ALLOW_SLOW_STORAGE": "1",
        "RAY_prestart_worker_first_driver": "0",
    }


def _configuration(node_types: Sequence[NodeType], idle_s: float, *, gcs_port: int) -> dict[str, Any]:
    workers = {
        f"worker-{kind.cpus:g}-{kind.gpus:g}": {
            "resources": {"CPU": kind.cpus, "GPU": kind.gpus, "object_store_memory": 100_000_000},
            "min_workers": 0,
            "max_workers": kind.max_nodes,
            "node_config": {},
        }
        for kind in node_types
    }
    head = {"resources": {"CPU": 0}, "max_workers": 0, "node_config": {}}
    return {
        "cluster_name": "growing",
        "max_workers": sum(kind.max_nodes for kind in node_types),
        "provider": {
            "type": "fake_multinode",
            "gcs_address": f"127.0.0.1:{gcs_port}",
            "launch_multiple": True,
            # All nodes have the same address.
            "use_node_id_as_ip": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
        },
        "available_node_types": {"ray.head.default": head, **workers},
        "head_node_type": "ray.head.default",
        "upscaling_speed": 1.0,
        "idle_timeout_minutes": idle_s / 60,
        **{name: {} for name in ("auth", "docker", "file_mounts")},
        **{name: [] for name in ("initialization_commands", "setup_commands", "head_setup_commands")},
        **{
            name: []
            for name in (
                "cluster_synced_files",
                "worker_setup_commands",
                "head_start_ray_commands",
                "worker_start_ray_commands",
            )
        },
    }
