"""A control plane in a separate process, so that a test measures the server and not itself."""

import asyncio
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from service.dispatcher.excerpts import Excerpt
from service.jobs.cluster import Capacity, Node
from service.server.app import create_app
from service.server.serving import Server
from service.settings import Settings
from tests.service.memory_cluster import MemoryCluster, excerpt_of

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Apart:
    port: int
    pid: int

    def cpu_s(self) -> float:
        """Returns the processor time that the server has used so far."""
        user, system = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


@contextmanager
def served_apart(home: Path) -> Iterator[Apart]:
    """Start a control plane in `home`, with its dispatcher and a cluster in memory.

    A client that connects before the server is up waits until it is.
    """
    with socket.create_server(("127.0.0.1", 0)) as listening, (home / "server.log").open("w") as log:
        descriptor, port = listening.fileno(), listening.getsockname()[1]
        command = [sys.executable, "-m", "tests.service.served_apart", str(home), str(descriptor), "2"]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=log, stderr=log, cwd=ROOT, pass_fds=[descriptor]
        ) as process:
            try:
                yield Apart(port, process.pid)
            finally:
                process.terminate()


class _PrintingCluster(MemoryCluster):
    """Every run has printed what is in `output.log` of the home."""

    def __init__(self, home: Path, capacity: Capacity) -> None:
        super().__init__(capacity)
        self._log = home / "output.log"

    async def logs(self, submission_id: str) -> Excerpt:
        return excerpt_of(self._log.read_bytes()) if self._log.exists() else await super().logs(submission_id)


def _serve(home: Path, descriptor: int, cpus: int) -> None:
    listening = socket.socket(fileno=descriptor)
    settings = Settings(home=home, port=listening.getsockname()[1], tick_s=1.0)
    node = Node(node_id="here", cpus_total=cpus, cpus_free=cpus)
    app = create_app(settings, _PrintingCluster(home, Capacity((node,))))
    config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=1)
    threading.Thread(target=_end_with_the_test, daemon=True).start()
    asyncio.run(Server(config).serve([listening]))


def _end_with_the_test() -> None:
    """Ends when the test process ends: its end of the pipe is closed then."""
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    _serve(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
