"""The HTTP API: each resource is a module with a router, and an entry in this table."""

from collections.abc import Sequence

from fastapi import APIRouter

from service.api.routes import (
    artifacts,
    attempt_files,
    attempts,
    audit,
    catalogue,
    compare,
    cost,
    datasets,
    disputed_images,
    docs,
    drafts,
    events,
    health,
    housekeeping,
    images,
    job_control,
    jobs,
    logs,
    metrics,
    models,
    prediction,
    projects,
    queue,
    ray_dashboard,
    report,
    scraping,
    seed_groups,
    session,
    sweeps,
    tokens,
    web,
    webhooks,
)

_OF_RUNS = (attempts, attempt_files)
_OF_JOBS = (
    jobs,
    drafts,
    job_control,
    seed_groups,
    queue,
    events,
    logs,
    metrics,
    prediction,
    cost,
    report,
    images,
    sweeps,
    compare,
    disputed_images,
    catalogue,
    datasets,
    artifacts,
    models,
)
_OF_THE_SERVER = (projects, tokens, session, webhooks, audit, housekeeping, web, ray_dashboard, docs, health, scraping)

# FastAPI tries the routers in this order, and runs send most requests.
ROUTERS: Sequence[APIRouter] = [resource.router for resource in (*_OF_RUNS, *_OF_JOBS, *_OF_THE_SERVER)]
