"""Starts a Ray head on this machine if no cluster is given, and finds it again after a crash.

The head outlives the control plane on purpose: if the control plane dies, the runs continue, and the next control plane
adopts them. Only `stop` ends the head. This module does not import ray: the head is a child process, and the image of
the API needs no ray.
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
"""Runs do not use Ray's object store; by default it takes a third of the memory."""
RUN_STOP_GRACE_S = 10
"""From SIGTERM to SIGKILL. Ray's default of 3 s is too short to write a checkpoint."""

Report = Callable[[str], None]


class _Head(Fact):
    """The content of {home}/ray.json: describes the running head."""

    mark: str
    temp_dir: Path
    url: str
    pid: int | None = None
    """None until the head is started."""
    create_time: float = 0.0
    processes: list[tuple[int, float]] = []
    """(pid, create time) of each process of the head, recorded when it had started."""

    @property
    def is_alive(self) -> bool:
        """Whether the head's main process is alive."""
        return self.pid is not None and head_processes.same_process(self.pid, self.create_time)


class LocalRay:
    """Runs the Ray head of one home folder.

    Several homes on one machine have a head each, with its own ports, temporary folder and token. All heads listen on
    the loopback interface only.
    """

    def __init__(self, home: Path) -> None:
        self._home = home.resolve()
        self._state_file = self._home / "ray.json"
        self._token_file = self._home / "ray_auth_token"
        self.log_file = self._home / "logs" / "ray.log"
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def token(self) -> str:
        """The token of this head's dashboard and Jobs API; created when it is first read."""
        if not self._token_file.exists():
            self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self._token_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_hex(32))
        return self._token_file.read_text().strip()

    @property
    def is_running(self) -> bool:
        """Whether the head's process is alive. Raises ClusterError if {home}/ray.json is damaged."""
        head = self._recorded()
        return head is not None and head.is_alive

    async def start(
        self, num_cpus: int | None = None, num_gpus: int | None = None, *, report: Report = lambda line: None
    ) -> str:
        """Start a head, or take over the one that this home started before; returns its dashboard's URL.

        Args:
            num_cpus: CPUs that runs may use; None for all of the machine's.
            num_gpus: GPUs that runs may use; None for all that Ray finds.
            report: called with a short text about the progress, about once a second.
        Raises:
            ClusterError: Ray is not installed here, or its head does not start.
        """
        head = self._recorded()
        if head is not None:
            if head.is_alive and await self._answers(head, REUSE_TIMEOUT_S, report):
                return head.url
            report("ending the rest of an earlier Ray")
            await asyncio.to_thread(self._end, head)
        _require_ray()
        # The log also holds the output of earlier starts, which is not the cause of this failure.
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
                # A port was taken meanwhile, or the machine was too busy for Ray's timeouts: both are temporary.
                report("Ray did not start; trying again")
        raise ClusterError(
            "the local Ray head does not start; its logs say why",
            logs=str(self.log_file.parent),
            last_lines=self._last_lines(log_began) or "Ray printed nothing",
        )

    async def stop(self) -> None:
        """End the head and all its runs, and remove its files. No error if there is no head."""
        head = self._recorded()
        if head is not None:
            await asyncio.to_thread(self._end, head)

    def _spawn(self, num_cpus: int | None, num_gpus: int | None) -> _Head:
        ports = _free_ports()
        temp_dir = ray_folder.make(self._home)
        head = _Head(mark=str(uuid.uuid4()), temp_dir=temp_dir, url=f"http://127.0.0.1:{ports.dashboard}")
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        # Also recorded before the start: if this process dies in between, the mark identifies the remaining processes.
        self._record(head)
        with self.log_file.open("ab") as log:
            self._child = subprocess.Popen(
                _command(ports, head.temp_dir, num_cpus, num_gpus),
                # Its own session: Ctrl-C at the terminal goes to the control plane, which decides about Ray.
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
        """Wait until runs can be submitted. Returns False if the head dies first, or takes longer than `timeout_s`."""
        began = time.monotonic()
        reported_s = 0.0
        async with RayCluster(head.url, self.token) as cluster:
            while head.is_alive and (waited_s := time.monotonic() - began) < timeout_s:
                with contextlib.suppress(ClusterError):
                    # The API answers about a second before the node exists on which a run can be placed.
                    if (await cluster.capacity()).cpus_total > 0:
                        return True
                if waited_s >= reported_s + 1:
                    report(f"waiting for Ray, {waited_s:.0f} s")
                    reported_s = waited_s
                # Not more often: on a busy machine the answers would take the time that Ray's agents need to start, and
                # Ray's raylet gives up on its agents after 30 s.
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
        """Keep the logs of a head that did not start: the output of `ray start` rarely names the cause."""
        kept = self.log_file.parent / "ray-failed-start"
        # Files of an earlier failure must not mix with those of this one.
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
                "the state file of the local Ray head is damaged; end its processes by hand and remove the file",
                path=str(self._state_file),
            ) from error

    def _record(self, head: _Head) -> None:
        partial = self._state_file.with_suffix(".partial")
        partial.write_text(head.model_dump_json(indent=2))
        partial.replace(self._state_file)

    def _log_size(self) -> int:
        return self.log_file.stat().st_size if self.log_file.exists() else 0

    def _last_lines(self, log_began: int) -> str:
        """Return the last lines of the log after this byte."""
        with self.log_file.open("rb") as log:
            log.seek(log_began)
            return "\n".join(log.read().decode(errors="replace").splitlines()[-15:])


class _Ports(NamedTuple):
    """Holds every port that Ray would otherwise choose by a fixed number, which a second head would need as well."""

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


# Above the ports of Ray's workers and below the ports that the system assigns: Ray opens some of these ports seconds
# after they were found free, and no other program should get them meanwhile.
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
        # 0: the system chooses. Ray's default range, 10002 to 19999, is the same for every head.
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
        # Despite its name, it keeps all servers of Ray on the loopback interface on every system.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "DASHBOARD_METRIC_PORT": str(ports.dashboard_metrics),
        "AUTOSCALER_METRIC_PORT": str(ports.autoscaler_metrics),
        # How stale the free resources may be that the dispatcher uses; the default is 5 s.
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "RAY_JOB_STOP_WAIT_TIME_S": str(RUN_STOP_GRACE_S),
        # A small /dev/shm is acceptable: almost nothing goes through the object store.
        "RAY_OBJECT_STORE_ALLOW_SLOW_STORAGE": "1",
        # By default Ray starts one worker per CPU in advance, which would slow the start of the head.
        "RAY_prestart_worker_first_driver": "0",
    }


_NOT_INHERITED = frozenset(
    {
        # They belong to another cluster.
        *("RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_JOB_CONFIG_JSON_ENV_VAR"),
        # Secrets of the control plane or of a person: runs have their own tokens.
        *("FGD_ADMIN_TOKEN", "FGD_ADMIN_TOKEN_FILE", "FGD_TOKEN", "FGD_TOKEN_FILE", "FGD_SECRET", "FGD_DATABASE_URL"),
        *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
        # Every run is a new process: without cached bytecode its imports take twice as long.
        "PYTHONDONTWRITEBYTECODE",
    }
)


def _require_ray() -> None:
    if importlib.util.find_spec("ray") is None:
        raise ClusterError(
            "ray is not installed here; install ray[default], or give a running cluster's dashboard with --ray-address",
            python=sys.executable,
        )
