"""What every route may ask for."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from service.api.ray_sessions import Sessions
from service.api.streaming.event_streams import Streams
from service.api.streaming.log_reader import Logs
from service.api.token_check import TokenCheck
from service.clock import Clock
from service.compare.process import Comparer
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
    settings: Settings
    database: Database
    storage: Storage
    cluster: Cluster
    capacity: CapacityMemory
    clock: Clock
    tokens: TokenCheck
    mint: Callable[[], TokenMint]
    sessions: Sessions
    """Of browsers that look at Ray's dashboard."""
    streams: Streams
    logs: Logs
    housekeeping: HousekeepingTask
    comparer: Comparer
    tracing: Tracing
    metrics: Metrics
    measuring: MetricsSampler
    """Brings the metrics up to date that are not counted as things happen."""
    wake_dispatcher: asyncio.Event
    """Set it when there is something to do, so that it is done now and not at the next tick."""


async def _services(request: Request) -> Services:
    # Asynchronous, though it awaits nothing: FastAPI sends plain functions to another thread.
    services: Services = request.app.state.services
    return services


ServicesDep = Annotated[Services, Depends(_services)]
