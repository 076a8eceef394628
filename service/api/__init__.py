"""The HTTP edge: a resource is a module with a router, and a line here."""

from collections.abc import Sequence

from fastapi import APIRouter

from service.api import artifacts, attempts, events, health, job_control, jobs, metrics, report

ROUTERS: Sequence[APIRouter] = (
    jobs.router,
    job_control.router,
    events.router,
    metrics.router,
    report.router,
    artifacts.router,
    attempts.router,
    health.router,
)
