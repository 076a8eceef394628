"""Runs control planes as processes that are killed, and restarted by a supervisor."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import httpx

RESTART_PAUSE_S = 0.5
START_TIMEOUT_S = 300.0


class Replica:
    """Runs `fgd up`, and restarts it whenever it ends, as systemd or Kubernetes do.

    Args:
        home: its own folder; `environment` names database and storage.
    """

    def __init__(self, name: str, home: Path, port: int, ray_address: str, environment: Mapping[str, str]) -> None:
        self.name = name
        self.port = port
        self.starts = 0
        self._log = home.parent / f"{name}.log"
        self._command = [
            *(sys.executable, "-m", "service.client.cli", "up", "--json"),
            *("--home", str(home), "--port", str(port), "--ray-address", ray_address),
        ]
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("FGD_", "RAY_"))}
        self._environment = inherited | dict(environment)
        self._lock = threading.Lock()
        self._is_stopping = threading.Event()
        self._process = self._spawn()
        self._supervisor = threading.Thread(target=self._supervise, name=f"supervisor of {name}", daemon=True)
        self._supervisor.start()

    @property
    def is_alive(self) -> bool:
        with self._lock:
            return self._process.poll() is None

    def await_ready(self) -> None:
        """Wait until it answers. Raises TimeoutError if it does not start in time."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            with suppress(httpx.HTTPError):
                if httpx.get(f"http://127.0.0.1:{self.port}/livez", timeout=5, trust_env=False).is_success:
                    return
            time.sleep(0.2)
        log = self._log.read_text(errors="replace")[-2000:]
        raise TimeoutError(f"{self.name} does not start within {START_TIMEOUT_S:g} s: {log}")

    def kill(self) -> int:
        """Kill the process; returns its id."""
        with self._lock:
            self._process.kill()
            self._process.wait()
            return self._process.pid

    def stop(self) -> None:
        """Stop it with SIGTERM; kill it if it does not end."""
        self._is_stopping.set()
        self._supervisor.join(30)
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _supervise(self) -> None:
        while not self._is_stopping.wait(0.1):
            if self.is_alive or self._is_stopping.wait(RESTART_PAUSE_S):
                continue
            with self._lock:
                self._process = self._spawn()

    def _spawn(self) -> "subprocess.Popen[bytes]":
        self.starts += 1
        with self._log.open("ab") as log:
            return subprocess.Popen(
                self._command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
