"""Builds the control plane: the API, and its background tasks."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import cache
from importlib.metadata import version

import structlog
from fastapi import FastAPI

from fgd_core.errors import ConflictError
from service import tracing
from service.api import description, middleware, problems
from service.api.browser_sessions import BrowserSessions
from service.api.deps import Services
from service.api.event_streams import EventStreams
from service.api.log_reader import LogReader
from service.api.routes import ROUTERS
from service.api.studies import Studies
from service.api.sweep_reports import SweepReports
from service.api.token_check import TokenCheck
from service.clock import Clock
from service.compare.process import Statistics
from service.dispatcher.capacity import CapacityMemory
from service.dispatcher.cluster import Cluster
from service.dispatcher.loop import Dispatcher
from service.errors import DatabaseError
from service.home import make_private
from service.housekeeping.task import CHECK_S, STARTUP_DELAY_S, HousekeepingTask
from service.loggers import copying
from service.loggers.copying import Copier
from service.metrics import Metrics
from service.metrics.sampling import MetricsSampler
from service.ray_proxy.paths import SIGN_IN
from service.server.background import BackgroundTask, running
from service.server.first_token import ensure_admin_token
from service.server.home_lock import locked
from service.settings import Settings
from service.storage.choosing import check_at_startup, storage_of
from service.store import buckets, migrate, shared_clock
from service.store.engines import Limits
from service.store.session import Database
from service.store.tokens import TokenMint
from service.webhooks import delivery
from service.webhooks.sending import Sender

log = structlog.get_logger(__name__)


def create_app(settings: Settings, cluster: Cluster, *, clock: Clock | None = None) -> FastAPI:
    """Build the API with its dispatcher. Its lifespan brings the database to the newest schema first.

    Args:
        clock: None: the time that all control planes of the database share.
    Raises, when it starts:
        SchemaTooNewError: a newer version has migrated the database.
        ConflictError: another control plane runs in the same home, or the server asks for tokens and no admin has one.
        StorageError: the storage cannot be written. An unreachable storage is not waited for.
        LoggerError: a logger's package is not installed.
    """
    metrics, own_version = Metrics(), version("fgd")
    metrics.build.labels(own_version, migrate.head_revision()).set(1)
    database = Database(settings.database.url, Limits(pool_size=settings.database.pool_size), metrics)
    time = shared_clock.SharedClock(database)
    services = _services(settings, cluster, database, clock or time, metrics)

    app = FastAPI(
        title="fgd",
        summary="Distil object detectors with Focal and Global Distillation",
        description=description.ABOUT,
        version=own_version,
        lifespan=lambda _: _running(services, time),
        responses=problems.RESPONSES,
        middleware=middleware.layers(services),
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        telemetry=services.tracing.of_requests(),
    )
    app.state.services = services
    for router in ROUTERS:
        app.include_router(router)
    problems.install(app)
    description.install(app)
    return app


def token_mint(settings: Settings) -> TokenMint:
    """Make the mint of attempt tokens: the same for all control planes with one FGD_SECRET."""
    if settings.secret is not None:
        return TokenMint(settings.secret.get_secret_value().encode())
    if not settings.database.url.startswith("sqlite"):
        log.warning("secret_not_shared", cure="with several control planes, give all of them one FGD_SECRET")
    return TokenMint.at(settings.home / "secret")


@asynccontextmanager
async def _running(services: Services, time: shared_clock.SharedClock) -> AsyncIterator[None]:
    """Prepare home, storage and database, and run the background tasks while the block runs."""
    settings = services.settings
    make_private(settings.home, settings.database.url)
    await check_at_startup(services.storage, _log_start)
    # A second control plane in this home would be a second writer of its SQLite file and of its secret. Control planes
    # that share a PostgreSQL database have a home each.
    with locked(settings.home / "lock", lambda pid: _home_in_use(settings, pid)):
        await migrate.upgrade_when_reachable(settings.database.url, _log_start)
        await time.set()
        await ensure_admin_token(settings, services.database, services.clock)
        copiers = copying.copiers(settings, services.database, services.clock)
        dispatcher = _dispatcher(services)
        try:
            async with running([*_background(services, dispatcher, time), *_copying(copiers)]):
                yield
        finally:
            with suppress(DatabaseError):
                await dispatcher.close()
            for copier in copiers:
                with suppress(DatabaseError):
                    await copier.close()
            await services.database.close()
            await services.tracing.close()


def _services(settings: Settings, cluster: Cluster, database: Database, clock: Clock, metrics: Metrics) -> Services:
    storage = storage_of(settings)
    capacity = CapacityMemory(cluster, clock, settings.ray.node_types)
    tokens = TokenCheck(database, clock)
    # Called late: it may have to write into the home, which may not exist yet.
    mint = cache(lambda: token_mint(settings))
    statistics, studies = Statistics(), Studies()
    folders = {"home": settings.home} | ({"storage": storage.folder} if storage.folder is not None else {})
    return Services(
        settings=settings,
        database=database,
        storage=storage,
        cluster=cluster,
        capacity=capacity,
        clock=clock,
        tokens=tokens,
        mint=mint,
        ray_sessions=BrowserSessions(tokens, mint, clock, site="ray", sign_in=SIGN_IN),
        web_sessions=BrowserSessions(tokens, mint, clock, site="web", sign_in="/"),
        streams=EventStreams(database, settings, metrics),
        logs=LogReader(database, storage, cluster, settings),
        housekeeping=HousekeepingTask(database, storage, settings, clock),
        statistics=statistics,
        studies=studies,
        sweep_reports=SweepReports(statistics, studies, clock),
        tracing=tracing.from_environment(),
        metrics=metrics,
        measuring=MetricsSampler(database, capacity, settings, clock, metrics, folders=folders),
        wake_dispatcher=asyncio.Event(),
    )


def _dispatcher(services: Services) -> Dispatcher:
    return Dispatcher(
        services.database,
        services.cluster,
        services.settings,
        services.clock,
        storage=services.storage,
        mint=services.mint(),
        capacity=services.capacity,
        wake=services.wake_dispatcher,
        tracing=services.tracing,
        metrics=services.metrics,
    )


def _background(services: Services, dispatcher: Dispatcher, time: shared_clock.SharedClock) -> Sequence[BackgroundTask]:
    settings, database, clock = services.settings, services.database, services.clock
    sender = Sender(allow_private=settings.webhooks.allow_private)
    deliverer = delivery.Deliverer(database, settings, clock, sender, services.metrics)
    roll_up = buckets.RollUp(database, clock)
    tasks = [
        BackgroundTask(
            name="dispatcher", run_once=dispatcher.run_once, period_s=settings.tick_s, wake=services.wake_dispatcher
        ),
        BackgroundTask(name="roll-up", run_once=roll_up.run_once, period_s=buckets.EVERY_S),
        BackgroundTask(name="webhooks", run_once=deliverer.run_once, period_s=delivery.POLL_S),
        BackgroundTask(name="clock", run_once=time.set, period_s=shared_clock.UPDATE_EVERY_S),
    ]
    every_hours = settings.retention.every_hours
    if every_hours is not None:
        tasks.append(
            BackgroundTask(
                name="housekeeping",
                run_once=services.housekeeping.run_pass_if_due,
                period_s=min(CHECK_S, every_hours * 3600),
                delay_s=STARTUP_DELAY_S,
            )
        )
    return tasks


def _copying(copiers: Sequence[Copier]) -> list[BackgroundTask]:
    return [
        BackgroundTask(name=f"logger {copier.key}", run_once=copier.run_once, period_s=copying.POLL_S)
        for copier in copiers
    ]


def _log_start(message: str) -> None:
    log.warning("starting", what=message)


def _home_in_use(settings: Settings, pid: str) -> ConflictError:
    return ConflictError(
        f"another control plane (process {pid}) uses {settings.home}; stop it, or set FGD_HOME to another folder",
        home=str(settings.home),
        pid=pid,
    )
