"""Runs the control plane in this process, with a local Ray if none is given, until a signal stops it."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import uvicorn

from fgd_core.errors import StorageError
from service import logs
from service.client.errors import UsageError
from service.clock import utc_now
from service.dispatcher.cluster import RayCluster, find_ray_token
from service.dispatcher.local import LocalRay
from service.dispatcher.local_watch import keep_running
from service.home import make_private
from service.loggers.choosing import logger_of
from service.server.app import create_app
from service.server.first_token import ensure_admin_token
from service.server.home_lock import locked
from service.server.serving import Server
from service.settings import Settings
from service.storage.choosing import check_at_startup, storage_of
from service.store import migrate
from service.store.session import Database


@dataclass(frozen=True, kw_only=True)
class Addresses:
    """Holds the addresses and paths of a control plane that is up."""

    url: str
    docs_url: str
    dashboard_url: str
    """Address of Ray's dashboard for people: this server forwards it."""
    ray_url: str
    """Address of Ray itself."""
    home: Path
    log_file: Path | None
    """None: the log goes to standard error."""
    pid: int
    owns_ray: bool


Report = Callable[[str], None]
Result = TypeVar("Result")


async def run(
    settings: Settings,
    listening: socket.socket,
    *,
    num_cpus: int | None,
    report: Report,
    on_ready: Callable[[Addresses], None],
    log_to_stderr: bool = False,
    until_stdin_closes: bool = False,
) -> None:
    """Start everything, serve until SIGINT, SIGTERM or SIGHUP, and stop everything that was started.

    After the first signal nothing interrupts the shutdown: a second Ctrl-C must not leave Ray running.

    Args:
        listening: bound to the address in `settings`.
        num_cpus: CPUs of the local Ray; None for all of the machine's.
        report: called with a short text about what happens.
        log_to_stderr: True for containers; False for a file in the home.
        until_stdin_closes: also stop when the parent process has ended.
    Raises:
        StorageError: the home, the database file or the storage cannot be written.
        DatabaseRefusedError: the database refuses the login. An unreachable database is waited for.
        SchemaTooNewError: a newer version has migrated the database.
        ConflictError: the server asks for tokens, and no admin has one.
        LoggerError: a logger's package is not installed.
        ClusterError: Ray does not come up.
    """
    stop = _stop_signal(until_stdin_closes)
    log_file = None if log_to_stderr else settings.home / "logs" / "server.log"
    with _log_to(log_file):
        await _prepare(settings, stop, report)
        if stop.is_set():
            return
        local = LocalRay(settings.home) if settings.ray.dashboard_url is None else None
        try:
            ray_url = settings.ray.dashboard_url
            if local is not None:
                ray_url = await _unless(stop, local.start(num_cpus=num_cpus, report=report))
            if ray_url is None:
                return
            ray = settings.ray.model_copy(update={"dashboard_url": ray_url})
            running = settings.model_copy(update={"ray": ray, "local_cluster": local is not None})
            addresses = _addresses(running, ray_url, log_file)
            token = local.token if local is not None else find_ray_token()
            async with RayCluster(ray_url, token) as cluster, _watching(local, cluster, num_cpus, report):
                await _serve(running, cluster, listening, stop, lambda: on_ready(addresses))
            report("the server has stopped")
        finally:
            if local is not None:
                report("stopping Ray and its runs")
                await local.stop()


@contextlib.contextmanager
def alone_in(home: Path) -> Iterator[None]:
    """Lock the home: a second `fgd up` there would take over this one's Ray, and stop it when it fails.

    Raises:
        UsageError: another process holds the lock.
        StorageError: the home cannot be written.
    """
    with contextlib.ExitStack() as stack:
        try:
            home.mkdir(mode=0o700, parents=True, exist_ok=True)
            stack.enter_context(locked(home / "up.lock", lambda pid: _already_up(home, pid)))
        except OSError as cause:
            raise StorageError(
                f"cannot write to {home}: {cause.strerror}; choose another folder with --home", home=str(home)
            ) from cause
        yield


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 takes any free port.

    Raises:
        UsageError: the port is taken, or this machine does not have the address.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(address)
        except OSError:
            listening.close()
            raise
    except socket.gaierror as cause:
        raise UsageError(
            f"{host} is not a name or address of this machine: {cause.strerror}; choose another with --host"
        ) from cause
    except OSError as cause:
        raise UsageError(
            f"cannot listen on {host}, port {port}: {cause.strerror}; choose another port with --port, or --port 0 for "
            "any free port"
        ) from cause
    return listening


def _already_up(home: Path, pid: str) -> UsageError:
    return UsageError(
        f"`fgd up` (process {pid}) already runs in {home}; stop it with Ctrl-C there, or choose another folder with "
        "--home",
        home=str(home),
    )


async def _prepare(settings: Settings, stop: asyncio.Event, report: Report) -> None:
    """Check loggers, home, database, tokens and storage before Ray starts; return early when `stop` is set."""
    for target in settings.loggers:
        logger_of(target, settings).close()
    make_private(settings.home, settings.database.url)
    report("preparing the database")
    await _unless(stop, migrate.upgrade_when_reachable(settings.database.url, report))
    if stop.is_set():
        return
    # The server checks this again when it starts, but by then a person has waited for Ray.
    database = Database(settings.database.url)
    try:
        await ensure_admin_token(settings, database, utc_now)
    finally:
        await database.close()
    await check_at_startup(storage_of(settings), report)


def _addresses(settings: Settings, ray_url: str, log_file: Path | None) -> Addresses:
    return Addresses(
        url=settings.public_url,
        docs_url=f"{settings.public_url}/docs",
        dashboard_url=f"{settings.public_url}/ray/",
        ray_url=ray_url,
        home=settings.home,
        log_file=log_file,
        pid=os.getpid(),
        owns_ray=settings.local_cluster,
    )


@contextlib.asynccontextmanager
async def _watching(
    local: LocalRay | None, cluster: RayCluster, num_cpus: int | None, report: Report
) -> AsyncIterator[None]:
    """Restart a local Ray that dies while the block runs."""
    if local is None:
        yield
        return
    restarting = keep_running(local, cluster.move_to, num_cpus=num_cpus, report=report)
    watching = asyncio.create_task(restarting, name="local Ray")
    try:
        yield
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching


def _stop_signal(until_stdin_closes: bool) -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    if until_stdin_closes:

        def on_input() -> None:
            if not os.read(sys.stdin.fileno(), 4096):
                loop.remove_reader(sys.stdin.fileno())
                stop.set()

        loop.add_reader(sys.stdin.fileno(), on_input)
    return stop


@contextlib.contextmanager
def _log_to(file: Path | None) -> Iterator[None]:
    """Write logs as one JSON document per line: to `file`, because the terminal shows progress; else to stderr."""
    if file is None:
        logs.configure(as_json=True)
        yield
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        stream = file.open("a", encoding="utf-8", buffering=1)
    except OSError as cause:
        raise StorageError(
            f"cannot write {file}: {cause.strerror}; choose another folder with --home", path=str(file)
        ) from cause
    with stream:
        logs.configure(as_json=True)
        for handler in logging.getLogger().handlers:
            if isinstance(handler, logging.StreamHandler):
                handler.setStream(stream)
        yield
        logging.getLogger().handlers.clear()


async def _unless(stop: asyncio.Event, work: Coroutine[object, object, Result]) -> Result | None:
    """Return the result of `work`; None if `stop` was set first, and `work` was cancelled."""
    working = asyncio.create_task(work)
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not working.done():
        working.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await working
        return None
    return working.result()


async def _serve(
    settings: Settings,
    cluster: RayCluster,
    listening: socket.socket,
    stop: asyncio.Event,
    on_ready: Callable[[], None],
) -> None:
    config = uvicorn.Config(
        create_app(settings, cluster),
        log_config=None,
        access_log=False,
        # A client that reads a stream slowly, or has gone, must not delay the shutdown.
        timeout_graceful_shutdown=3,
    )
    # Signals stop Ray as well, so this module handles them.
    server = Server(config, handles_signals=False)
    serving = asyncio.create_task(_until_it_ends(server, listening))
    while not server.started and not serving.done():  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.05)
    if server.started:
        on_ready()
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    is_stop_requested = stop.is_set()
    stopping.cancel()
    server.should_exit = True
    await serving
    if not is_stop_requested:
        raise StorageError("the server ended by itself; its log says why")


async def _until_it_ends(server: Server, listening: socket.socket) -> None:
    # If its start fails, uvicorn exits the whole process, which would leave Ray running.
    with contextlib.suppress(SystemExit):
        await server.serve(sockets=[listening])
