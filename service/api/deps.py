"""Dependencies: the services that every route can use."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from service.api.browser_sessions import BrowserSessions
from service.api.event_streams import EventStreams
from service.api.log_reader import LogReader
from service.api.studies import Studies
from service.api.sweep_reports import SweepReports
from service.api.token_check import TokenCheck
from service.clock import Clock
from service.compare.process import Statistics
from service.dispatcher.capacity import CapacityMemory
from service.dispatcher.cluster import Cluster
from service.housekeeping.task import HousekeepingTask
from service.metrics import Metrics
from service.metrics.sampling import MetricsSampler
from service.settings import Settings
from service.storage.base import Storage
from service.store.session import Database
from service.store.tokens import TokenMint
from service.tracing import Tracing


@dataclass(frozen=True, kw_only=True)
class Services:
    """Holds what one control plane process has once, for all its requests."""

    settings: Settings
    database: Database
    storage: Storage
    cluster: Cluster
    capacity: CapacityMemory
    clock: Clock
    tokens: TokenCheck
    mint: Callable[[], TokenMint]
    ray_sessions: BrowserSessions
    """Browsers that have signed in to Ray's dashboard."""
    web_sessions: BrowserSessions
    """Browsers that have signed in to the page."""
    streams: EventStreams
    logs: LogReader
    housekeeping: HousekeepingTask
    statistics: Statistics
    studies: Studies
    sweep_reports: SweepReports
    tracing: Tracing
    metrics: Metrics
    measuring: MetricsSampler
    """Updates the metrics that are read at the moment of a scrape."""
    wake_dispatcher: asyncio.Event
    """Set it when there is work for the dispatcher, which otherwise waits until its next tick."""


async def _services(request: Request) -> Services:
    # Asynchronous although it awaits nothing: FastAPI runs plain functions in another thread.
    services: Services = request.app.state.services
    return services


ServicesDep = Annotated[Services, Depends(_services)]
