"""The control plane as an application, and as a server."""

import asyncio
import fcntl
import gc
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path

import structlog
import uvicorn
from fastapi import FastAPI

from fgd_core.errors import ConflictError
from service import tracing
from service.api import description, middleware, problems, slow_readers
from service.api.deps import Services
from service.api.event_streams import EventStreams
from service.api.log_reader import LogReader
from service.api.ray_sessions import RaySessions
from service.api.routes import ROUTERS
from service.api.token_check import TokenCheck
from service.clock import Clock
from service.compare.process import Statistics
from service.dispatcher.capacity import CapacityMemory
from service.dispatcher.cluster import Cluster
from service.dispatcher.loop import Dispatcher
from service.errors import DatabaseError
from service.home import make_private
from service.housekeeping.task import HousekeepingTask
from service.metrics import Metrics
from service.metrics.sampling import MetricsSampler
from service.server.admin import have_an_admin
from service.settings import Settings
from service.storage.choosing import check_at_startup, storage_of
from service.store import migrate
from service.store.buckets import keep_rolled_up
from service.store.engines import Limits
from service.store.session import Database
from service.store.shared_clock import SharedClock
from service.store.tokens import TokenMint
from service.webhooks.delivery import Deliverer
from service.webhooks.sending import Sender

log = structlog.get_logger(__name__)


def create_app(settings: Settings, cluster: Cluster, *, clock: Clock | None = None) -> FastAPI:
    """The API with its dispatcher. Its lifespan brings the database to the newest schema first.

    Args:
        clock: None: the time that all control planes of the database share.
    Raises, when it starts:
        SchemaTooNewError: the database is a newer version's.
        ConflictError: another control plane works in the same home, or tokens are asked for and nobody has an admin's.
        StorageError: the storage cannot be written. For one that is away it is not waited.
    """
    metrics = Metrics()
    metrics.build.labels(version("fgd"), migrate.head_revision()).set(1)
    database = Database(settings.database_url, Limits(pool_size=settings.database_pool_size), metrics)
    shared_clock = SharedClock(database)
    clock = clock or shared_clock
    storage = storage_of(settings)
    capacity = CapacityMemory(cluster, clock)
    folders = {"home": settings.home} | ({"storage": storage.folder} if storage.folder is not None else {})
    # Made when first asked for: it may have to write into a home that is not there yet.
    mint = cache(lambda: token_mint(settings))
    tokens = TokenCheck(database, clock)
    services = Services(
        settings=settings,
        database=database,
        storage=storage,
        cluster=cluster,
        capacity=capacity,
        clock=clock,
        tokens=tokens,
        mint=mint,
        sessions=RaySessions(tokens, mint, clock),
        streams=EventStreams(database, settings, metrics),
        logs=LogReader(database, storage, cluster, settings),
        housekeeping=HousekeepingTask(database, storage, settings, clock),
        statistics=Statistics(),
        tracing=tracing.from_environment(),
        metrics=metrics,
        measuring=MetricsSampler(database, capacity, settings, clock, metrics, folders=folders),
        wake_dispatcher=asyncio.Event(),
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        make_private(settings.home, settings.database_url)
        await check_at_startup(storage, lambda what: log.warning("starting", what=what))
        with _alone_in(settings.home):
            await migrate.upgrade_when_reachable(settings.database_url, lambda what: log.warning("starting", what=what))
            await shared_clock.set()
            await have_an_admin(settings, database, clock)
            dispatcher = Dispatcher(
                services.database,
                cluster,
                settings,
                clock,
                storage=storage,
                mint=services.mint(),
                capacity=services.capacity,
                wake=services.wake_dispatcher,
                tracing=services.tracing,
                metrics=metrics,
            )
            dispatching = asyncio.create_task(dispatcher.run(), name="dispatcher")
            rolling_up = asyncio.create_task(keep_rolled_up(database, clock), name="roll-up")
            sender = Sender(allow_private=settings.webhooks_allow_private)
            deliverer = Deliverer(database, settings, clock, sender, metrics)
            delivering = asyncio.create_task(deliverer.run(), name="webhooks")
            keeping_time = asyncio.create_task(shared_clock.keep(), name="clock")
            cleaning = asyncio.create_task(services.housekeeping.run(), name="housekeeping")
            try:
                yield
            finally:
                for task in (dispatching, rolling_up, delivering, cleaning, keeping_time):
                    task.cancel()
                    with suppress(asyncio.CancelledError):
                        await task
                with suppress(DatabaseError):
                    await dispatcher.close()
                await services.database.close()
                await services.tracing.close()

    app = FastAPI(
        title="fgd",
        summary="Distil object detectors with Focal and Global Distillation",
        description=description.ABOUT,
        version=version("fgd"),
        lifespan=lifespan,
        responses=problems.RESPONSES,
        middleware=middleware.layers(services),
        docs_url=None,
        redoc_url=None,
        telemetry=services.tracing.of_requests(),
    )
    app.state.services = services
    for router in ROUTERS:
        app.include_router(router)
    problems.install(app)
    description.install(app)
    return app


class Server(uvicorn.Server):
    """Cuts off clients that take nothing, and sends readers of streams home before it waits for connections to end."""

    def __init__(self, config: uvicorn.Config) -> None:
        if isinstance(config.app, FastAPI):
            slow_readers.cut_off(config, after_s=config.app.state.services.settings.slow_reader_s)
        super().__init__(config)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        # What was imported stays for good. To go through it again and again for garbage stops everybody for 0.1 s.
        gc.collect()
        gc.freeze()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        app = self.config.app
        if isinstance(app, FastAPI):
            services: Services = app.state.services
            services.database.notifier.close()
        await super().shutdown(sockets)


def token_mint(settings: Settings) -> TokenMint:
    """Makes the tokens of attempts, as every other control plane with the same FGD_SECRET does."""
    if settings.secret is not None:
        return TokenMint(settings.secret.get_secret_value().encode())
    if not settings.database_url.startswith("sqlite"):
        log.warning("secret_not_shared", cure="beside other control planes, give all of them one FGD_SECRET")
    return TokenMint.at(settings.home / "secret")


@contextmanager
def _alone_in(home: Path) -> Iterator[None]:
    """Hold the home's lock: a second control plane in it would be a second writer of its SQLite, and of its secret.

    The lock ends with the process, however that ends. Control planes that share a PostgreSQL have a home each.
    """
    descriptor = os.open(home / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(descriptor, 20).decode().strip()
            raise ConflictError(
                f"another control plane (process {holder}) works in {home}; stop it, or set FGD_HOME to another folder",
                home=str(home),
                pid=holder,
            ) from error
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(descriptor)
