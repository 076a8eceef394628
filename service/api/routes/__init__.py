"""The HTTP API: each resource is a module with a router, and a line in this table."""

from collections.abc import Sequence

from fastapi import APIRouter

from service.api.routes import (
    artifacts,
    attempt_files,
    attempts,
    audit,
    catalogue,
    compare,
    datasets,
    docs,
    events,
    health,
    housekeeping,
    job_control,
    jobs,
    logs,
    metrics,
    projects,
    queue,
    ray_dashboard,
    report,
    scraping,
    sweeps,
    tokens,
    webhooks,
)

ROUTERS: Sequence[APIRouter] = (
    # First: runs call these routes most often, and FastAPI tries the routers in this order.
    attempts.router,
    attempt_files.router,
    jobs.router,
    job_control.router,
    queue.router,
    events.router,
    logs.router,
    metrics.router,
    report.router,
    sweeps.router,
    compare.router,
    catalogue.router,
    datasets.router,
    artifacts.router,
    projects.router,
    tokens.router,
    webhooks.router,
    audit.router,
    housekeeping.router,
    ray_dashboard.router,
    docs.router,
    health.router,
    scraping.router,
)
