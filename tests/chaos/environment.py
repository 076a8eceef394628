"""Starts and stops everything that the experiment needs: database, Ray, control planes, proxies."""

import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from service.dispatcher import head_processes
from tests import postgres
from tests.chaos.proxy import Proxy
from tests.chaos.ray_nodes import RayNodes, free_ports
from tests.chaos.replicas import Replica

HEARTBEAT_S = 1.0
HEARTBEAT_TIMEOUT_S = 8.0


@dataclass(frozen=True)
class Environment:
    """Holds the running parts."""

    logs: Path
    database: postgres.PostgresServer
    ray: RayNodes
    replicas: list[Replica]
    runs_proxy: Proxy
    """The address of the control plane for runs; the network fault cuts it."""
    users_proxy: Proxy

    def runs(self) -> dict[str, psutil.Process]:
        """Return the living processes of runs of this cluster, by the id of their attempt."""
        marks = {node.mark for node in self.ray.all_ever}
        found: dict[str, psutil.Process] = {}
        for process in psutil.process_iter():
            try:
                if process.cmdline()[1:3] != ["-m", "workers"] or not head_processes.is_alive(process):
                    continue
                environment = process.environ()
            except psutil.Error:
                continue
            if environment.get(head_processes.HEAD_MARK) in marks and "FGD_ATTEMPT_ID" in environment:
                found[environment["FGD_ATTEMPT_ID"]] = process
        return found


@contextmanager
def started(*, num_replicas: int, num_nodes: int, cpus_per_node: int) -> Iterator[Environment]:
    """Start everything; stop it at the end of the block in any case. The folder with the logs stays."""
    folder = Path(tempfile.mkdtemp(prefix="fgd-chaos-", dir="/tmp"))
    with ExitStack() as stack:
        database = stack.enter_context(postgres.running(durable=True))
        url = database.create("fgd")
        ray_temp = Path(tempfile.mkdtemp(prefix="fgd-r-", dir="/tmp"))
        stack.callback(shutil.rmtree, ray_temp, ignore_errors=True)
        ray = RayNodes(folder, ray_temp, cpus_per_node=cpus_per_node)
        stack.callback(ray.stop)
        stack.callback(_copy_ray_logs, ray_temp, folder / "ray")
        ray.start(num_nodes)
        ports = free_ports(num_replicas)
        proxies = [Proxy(ports) for _ in range(2)]
        for proxy in proxies:
            stack.callback(proxy.close)
        environment = {
            "FGD_DATABASE_URL": url,
            "FGD_STORAGE_DIR": str(folder / "storage"),
            "FGD_PUBLIC_URL": proxies[0].url,
            "FGD_SECRET": secrets.token_hex(32),
            "FGD_HEARTBEAT_S": str(HEARTBEAT_S),
            "FGD_HEARTBEAT_TIMEOUT_S": str(HEARTBEAT_TIMEOUT_S),
            "RAY_AUTH_TOKEN": ray.token,
        }
        replicas = []
        for number, port in enumerate(ports, start=1):
            replica = Replica(f"replica-{number}", folder / f"home-{number}", port, ray.dashboard_url, environment)
            stack.callback(replica.stop)
            replicas.append(replica)
        for replica in replicas:
            replica.await_ready()
        yield Environment(folder, database, ray, replicas, *proxies)


def _copy_ray_logs(temp_dir: Path, to: Path) -> None:
    """Copy the logs of all nodes, which share a folder."""
    shutil.copytree(temp_dir / "session_latest" / "logs", to, dirs_exist_ok=True, ignore_dangling_symlinks=True)
