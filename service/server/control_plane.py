"""The control plane with a Ray of its own, in this process, until it is told to stop."""

import asyncio
import contextlib
import fcntl
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import uvicorn

from fgd_core.errors import StorageError
from service import logs
from service.client.errors import UsageError
from service.clock import utc_now
from service.dispatcher.cluster import RayCluster, find_ray_token
from service.dispatcher.local import LocalRay
from service.dispatcher.local_watch import keep_running
from service.home import make_private
from service.server.admin import have_an_admin
from service.server.app import Server, create_app
from service.settings import Settings
from service.storage.choosing import check_at_startup, storage_of
from service.store import migrate
from service.store.session import Database


@dataclass(frozen=True, kw_only=True)
class Addresses:
    """Where things are, once they are up."""

    url: str
    docs_url: str
    ray_url: str
    """Of Ray itself; people reach its dashboard at `/ray/` of this server."""
    home: Path
    log_file: Path | None
    """None: the log is on standard error."""
    pid: int
    owns_ray: bool


Say = Callable[[str], None]
Result = TypeVar("Result")


async def run(
    settings: Settings,
    listening: socket.socket,
    *,
    num_cpus: int | None,
    say: Say,
    on_ready: Callable[[Addresses], None],
    log_to_stderr: bool = False,
    until_stdin_closes: bool = False,
) -> None:
    """Start everything, serve until SIGINT, SIGTERM or SIGHUP, and end everything that was started.

    From the first signal on, nothing interrupts the ending: a second Ctrl-C must not leave Ray behind.

    Args:
        listening: bound to the address in `settings`.
        say: told in a few words what is waited for.
        log_to_stderr: as a container's log wants it; else into a file in the home.
        until_stdin_closes: stop as well when whoever started us is gone.
    Raises:
        StorageError: the home, the database file or the storage cannot be written.
        DatabaseRefusedError: the database does not let us in. For one that is away it is waited.
        SchemaTooNewError: the database is a newer version's.
        ConflictError: tokens are asked for, and nobody has an admin's.
        ClusterError: Ray does not come up.
    """
    stop = _stop_signal(until_stdin_closes)
    log_file = None if log_to_stderr else settings.home / "logs" / "server.log"
    with _log_to(log_file):
        make_private(settings.home, settings.database_url)
        say("preparing the database")
        await _unless(stop, migrate.upgrade_when_reachable(settings.database_url, say))
        if stop.is_set():
            return
        # The server looks again when it starts; but by then a person has waited for Ray.
        await _have_an_admin(settings)
        await check_at_startup(storage_of(settings), say)
        local = LocalRay(settings.home) if settings.ray_dashboard_url is None else None
        try:
            dashboard_url = settings.ray_dashboard_url
            if local is not None:
                dashboard_url = await _unless(stop, local.start(num_cpus=num_cpus, report=say))
            if dashboard_url is None:
                return
            token = local.token if local is not None else find_ray_token()
            addresses = Addresses(
                url=settings.public_url,
                docs_url=f"{settings.public_url}/docs",
                ray_url=dashboard_url,
                home=settings.home,
                log_file=log_file,
                pid=os.getpid(),
                owns_ray=local is not None,
            )
            running = settings.model_copy(
                update={"ray_dashboard_url": dashboard_url, "local_cluster": local is not None}
            )
            async with RayCluster(dashboard_url, token) as cluster, _watching(local, cluster, num_cpus, say):
                await _serve(running, cluster, listening, stop, lambda: on_ready(addresses))
            say("the server has stopped")
        finally:
            if local is not None:
                say("stopping Ray and what runs on it")
                await local.stop()


@contextlib.asynccontextmanager
async def _watching(local: LocalRay | None, cluster: RayCluster, num_cpus: int | None, say: Say) -> AsyncIterator[None]:
    """Watch over a Ray of our own while the block lasts."""
    if local is None:
        yield
        return
    watching = asyncio.create_task(keep_running(local, cluster.move_to, num_cpus=num_cpus, say=say), name="local Ray")
    try:
        yield
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching


@contextlib.contextmanager
def alone_in(home: Path) -> Iterator[None]:
    """Hold the home: a second `fgd up` there would take over this one's Ray, and end it when it fails.

    Raises:
        UsageError: another process holds it.
        StorageError: it cannot be written.
    """
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(home / "up.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as cause:
        raise StorageError(f"cannot write to {home}: {cause.strerror}; give another --home", home=str(home)) from cause
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
    except BlockingIOError as cause:
        holder = os.read(descriptor, 20).decode().strip()
        raise UsageError(
            f"`fgd up` (process {holder}) is at work in {home}; stop it with Ctrl-C there, or give another --home",
            home=str(home),
        ) from cause
    finally:
        os.close(descriptor)


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes any that is free.

    Raises:
        UsageError: the port is taken, or the address is not this machine's.
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
            f"{host} is no name or address of this machine: {cause.strerror}; give another --host"
        ) from cause
    except OSError as cause:
        raise UsageError(
            f"cannot listen on {host}, port {port}: {cause.strerror}; choose another with --port, or --port 0 for any"
        ) from cause
    return listening


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
    """Logs go into a file, one JSON document a line, for the terminal belongs to the person at it; without a file, to
    standard error."""
    if file is None:
        logs.configure(as_json=True)
        yield
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        stream = file.open("a", encoding="utf-8", buffering=1)
    except OSError as cause:
        raise StorageError(f"cannot write {file}: {cause.strerror}; give another --home", path=str(file)) from cause
    with stream:
        logs.configure(as_json=True)
        for handler in logging.getLogger().handlers:
            if isinstance(handler, logging.StreamHandler):
                handler.setStream(stream)
        yield
        logging.getLogger().handlers.clear()


async def _have_an_admin(settings: Settings) -> None:
    database = Database(settings.database_url)
    try:
        await have_an_admin(settings, database, utc_now)
    finally:
        await database.close()


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, Result]) -> Result | None:
    """What `work` returns; None when a signal came first, and `work` was cancelled."""
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
        # A streaming reader that is gone, or too slow, must not hold the server back.
        timeout_graceful_shutdown=3,
    )
    server = _Server(config)
    serving = asyncio.create_task(_until_it_ends(server, listening))
    async for _ in _ticks(0.05):
        if server.started or serving.done():
            break
    if server.started:
        on_ready()
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    was_asked = stop.is_set()
    stopping.cancel()
    server.should_exit = True
    await serving
    if not was_asked:
        raise StorageError("the server ended by itself; its log says why")


async def _until_it_ends(server: Server, listening: socket.socket) -> None:
    # Where its start fails uvicorn leaves the whole process, and would leave Ray behind.
    with contextlib.suppress(SystemExit):
        await server.serve(sockets=[listening])


async def _ticks(pause_s: float) -> AsyncIterator[None]:
    while True:
        yield
        await asyncio.sleep(pause_s)


class _Server(Server):
    """Leaves signals alone: they end more than the server."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
