"""A Ray head of our own, for one machine: started when nothing else is asked for, found again after a crash.

The head outlives the control plane on purpose: when that dies, the runs go on, and the next control plane adopts them.
Only `stop` ends it. Nothing here imports ray: the head is a child process, and the API image needs no ray at all.
"""

import asyncio
import contextlib
import importlib.util
import os
import random
import secrets
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import psutil
from pydantic import ValidationError

from fgd_core.errors import ClusterError
from fgd_core.spec.base import Fact
from service.dispatcher import head_processes, ray_folder
from service.dispatcher.cluster import RayCluster

START_TIMEOUT_S = 120.0
REUSE_TIMEOUT_S = 30.0
START_TRIES = 3
OBJECT_STORE_BYTES = 200_000_000
"""Runs pass nothing through Ray's object store; left alone, it takes a third of the memory."""
RUN_STOP_GRACE_S = 10
"""From SIGTERM to SIGKILL. Ray's own 3 s are too short to write a checkpoint."""

Report = Callable[[str], None]


class _Head(Fact):
    """What {home}/ray.json keeps of the head that runs."""

    mark: str
    temp_dir: Path
    url: str
    pid: int | None = None
    """None between the decision to start and the start."""
    create_time: float = 0.0
    processes: list[tuple[int, float]] = []
    """(pid, create time) of each process of the head, as seen when it had come up."""

    @property
    def is_alive(self) -> bool:
        return self.pid is not None and head_processes.same_process(self.pid, self.create_time)


class LocalRay:
    """The Ray head that belongs to one home folder.

    Several homes have several heads on one machine: each with its own ports, temporary folder and token, all of them on
    the loopback interface alone.
    """

    def __init__(self, home: Path) -> None:
        self._home = home.resolve()
        self._state_file = self._home / "ray.json"
        self._token_file = self._home / "ray_auth_token"
        self.log_file = self._home / "logs" / "ray.log"
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def token(self) -> str:
        """What the dashboard and the Jobs API of this head ask for."""
        if not self._token_file.exists():
            self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self._token_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_hex(32))
        return self._token_file.read_text().strip()

    @property
    def is_running(self) -> bool:
        head = self._recorded()
        return head is not None and head.is_alive

    async def start(
        self, num_cpus: int | None = None, num_gpus: int | None = None, *, report: Report = lambda line: None
    ) -> str:
        """Have a head running, and return its dashboard's URL; one that this home started before is taken over.

        Args:
            num_cpus: CPUs that runs may take; None for all of the machine's.
            num_gpus: GPUs that runs may take; None for all that Ray finds.
            report: told in a few words what is waited for, about once a second.
        Raises:
            ClusterError: Ray is not installed here, or its head does not come up.
        """
        head = self._recorded()
        if head is not None:
            if head.is_alive and await self._answers(head, REUSE_TIMEOUT_S, report):
                return head.url
            report("ending what is left of an earlier Ray")
            await asyncio.to_thread(self._end, head)
        _require_ray()
        # The log has the earlier starts as well: their words are not the cause of this one's failure.
        log_began = self._log_size()
        for tries_left in reversed(range(START_TRIES)):
            head = self._spawn(num_cpus, num_gpus)
            if await self._answers(head, START_TIMEOUT_S, report):
                living = await asyncio.to_thread(head_processes.find, head.mark, head.temp_dir)
                self._record(head.model_copy(update={"processes": head_processes.identities(living)}))
                return head.url
            await asyncio.to_thread(self._keep_logs, head)
            await asyncio.to_thread(self._end, head)
            if tries_left:
                # A port was taken meanwhile, or the machine was too busy for Ray's own patience: both pass.
                report("Ray did not come up; trying again")
        raise ClusterError(
            "the local Ray head does not come up; its logs say why",
            logs=str(self.log_file.parent),
            last_lines=self._last_lines(log_began) or "Ray printed nothing",
        )

    async def stop(self) -> None:
        """End the head with all that runs on it, and leave nothing behind. Does nothing where there is none."""
        head = self._recorded()
        if head is not None:
            await asyncio.to_thread(self._end, head)

    def _spawn(self, num_cpus: int | None, num_gpus: int | None) -> _Head:
        ports = _free_ports()
        temp_dir = ray_folder.make(self._home)
        head = _Head(mark=str(uuid.uuid4()), temp_dir=temp_dir, url=f"http://127.0.0.1:{ports.dashboard}")
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        # Written before the start as well: if this process dies in between, the mark finds what it left.
        self._record(head)
        with self.log_file.open("ab") as log:
            self._child = subprocess.Popen(
                _command(ports, head.temp_dir, num_cpus, num_gpus),
                # A session of its own: a Ctrl-C at the terminal is for the control plane, which decides about Ray.
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._home,
                env=_environment(head.mark, ports, self._token_file),
            )
        pid = self._child.pid
        head = head.model_copy(update={"pid": pid, "create_time": psutil.Process(pid).create_time()})
        self._record(head)
        return head

    async def _answers(self, head: _Head, timeout_s: float, report: Report) -> bool:
        """Wait until runs can be submitted; False when the head dies first or takes too long."""
        began = time.monotonic()
        told_s = 0.0
        async with RayCluster(head.url, self.token) as cluster:
            while head.is_alive and (waited_s := time.monotonic() - began) < timeout_s:
                with contextlib.suppress(ClusterError):
                    # The API answers a second before the node is there that a run could be placed on.
                    if (await cluster.capacity()).cpus_total > 0:
                        return True
                if waited_s >= told_s + 1:
                    report(f"waiting for Ray, {waited_s:.0f} s")
                    told_s = waited_s
                # Not more often: on a busy machine the answers themselves would take the time that Ray's agents need
                # to come up, and its raylet gives up on them after 30 s.
                await asyncio.sleep(0.5)
        return False

    def _end(self, head: _Head) -> None:
        head_processes.end_all(head.mark, head.temp_dir, head.processes, session=head.pid, grace_s=RUN_STOP_GRACE_S)
        if self._child is not None:
            self._child.wait()
            self._child = None
        shutil.rmtree(head.temp_dir, ignore_errors=True)
        ray_folder.remove_empty(head.temp_dir)
        self._state_file.unlink(missing_ok=True)

    def _keep_logs(self, head: _Head) -> None:
        """Of a head that did not come up: what `ray start` itself prints seldom says why."""
        kept = self.log_file.parent / "ray-failed-start"
        # Files of an earlier failure must not stand among those of this one.
        shutil.rmtree(kept, ignore_errors=True)
        with contextlib.suppress(OSError, shutil.Error):
            shutil.copytree(head.temp_dir / "session_latest" / "logs", kept)

    def _recorded(self) -> _Head | None:
        try:
            return _Head.model_validate_json(self._state_file.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise ClusterError(
                "the note on the local Ray head is damaged; end its processes by hand and remove the file",
                path=str(self._state_file),
            ) from error

    def _record(self, head: _Head) -> None:
        partial = self._state_file.with_suffix(".partial")
        partial.write_text(head.model_dump_json(indent=2))
        partial.replace(self._state_file)

    def _log_size(self) -> int:
        return self.log_file.stat().st_size if self.log_file.exists() else 0

    def _last_lines(self, log_began: int) -> str:
        """The last lines of the log from this byte on."""
        with self.log_file.open("rb") as log:
            log.seek(log_began)
            return "\n".join(log.read().decode(errors="replace").splitlines()[-15:])


class _Ports(NamedTuple):
    """Every port that Ray would otherwise take by number, where a second head on the machine would want the same."""

    gcs: int
    dashboard: int
    agent_http: int
    agent_grpc: int
    runtime_env_agent: int
    client_server: int
    metrics_export: int
    dashboard_metrics: int
    autoscaler_metrics: int


def _free_ports() -> _Ports:
    chosen: list[int] = []
    for port in random.sample(_PORT_RANGE, len(_PORT_RANGE)):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            chosen.append(port)
        if len(chosen) == len(_Ports._fields):
            return _Ports(*chosen)
    raise ClusterError("no free port is left for a local Ray head", first=_PORT_RANGE.start, last=_PORT_RANGE.stop - 1)


# Above the ports of Ray's own workers, below those that the system hands out: Ray comes to some of these ports seconds
# after they were found free, and nobody else should have been given one of them by then.
_PORT_RANGE = range(20_000, 32_768)


def _command(ports: _Ports, temp_dir: Path, num_cpus: int | None, num_gpus: int | None) -> list[str]:
    options = {
        "--port": ports.gcs,
        "--node-ip-address": "127.0.0.1",
        "--temp-dir": temp_dir,
        "--dashboard-host": "127.0.0.1",
        "--dashboard-port": ports.dashboard,
        "--dashboard-agent-listen-port": ports.agent_http,
        "--dashboard-agent-grpc-port": ports.agent_grpc,
        "--runtime-env-agent-port": ports.runtime_env_agent,
        "--ray-client-server-port": ports.client_server,
        "--metrics-export-port": ports.metrics_export,
        # 0: the system chooses. Ray's own range, 10002 to 19999, would be every head's.
        "--min-worker-port": 0,
        "--max-worker-port": 0,
        "--object-store-memory": OBJECT_STORE_BYTES,
        "--num-cpus": num_cpus,
        "--num-gpus": num_gpus,
    }
    return [
        *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats"),
        *(f"{name}={value}" for name, value in options.items() if value is not None),
    ]


def _environment(mark: str, ports: _Ports, token_file: Path) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED}
    return inherited | {
        head_processes.HEAD_MARK: mark,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token_file),
        "RAY_USAGE_STATS_ENABLED": "0",
        # Named for other systems, it keeps all of Ray's servers on the loopback interface on every system.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "DASHBOARD_METRIC_PORT": str(ports.dashboard_metrics),
        "AUTOSCALER_METRIC_PORT": str(ports.autoscaler_metrics),
        # How stale the free resources may be that the dispatcher counts on; 5 s by default.
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "RAY_JOB_STOP_WAIT_TIME_S": str(RUN_STOP_GRACE_S),
        # A small /dev/shm is no reason to refuse: next to nothing goes through the object store.
        "RAY_OBJECT_STORE_ALLOW_SLOW_STORAGE": "1",
        # One worker a CPU, started ahead for drivers that never come, would take the cores from the head's own start.
        "RAY_prestart_worker_first_driver": "0",
    }


_NOT_INHERITED = frozenset(
    {
        # Another cluster's, or its secret.
        *("RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_JOB_CONFIG_JSON_ENV_VAR"),
        # The control plane's secrets, and a person's: runs have tokens of their own.
        *("FGD_ADMIN_TOKEN", "FGD_ADMIN_TOKEN_FILE", "FGD_TOKEN", "FGD_TOKEN_FILE", "FGD_SECRET", "FGD_DATABASE_URL"),
        *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
        # Every run is a new process: without the cache of compiled modules its imports take twice as long.
        "PYTHONDONTWRITEBYTECODE",
    }
)


def _require_ray() -> None:
    if importlib.util.find_spec("ray") is None:
        raise ClusterError(
            "ray is not installed here; install ray[default], or name a running cluster's dashboard with --ray-address",
            python=sys.executable,
        )
