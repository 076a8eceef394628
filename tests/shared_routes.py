"""Gives all applications of a test process the same routes, because FastAPI builds the models of a route's answers at
its first request, which took a quarter of the time of a test with a few requests."""

from fastapi import FastAPI
from starlette.routing import BaseRoute

from service.api.routes import ROUTERS

_routes: list[BaseRoute] = []


def with_shared_routes(app: FastAPI) -> FastAPI:
    """Replace the routes by those of the first application. Routes hold nothing of their application."""
    if not _routes:
        _routes.extend(app.router.routes[-len(ROUTERS) :])
    app.router.routes[-len(ROUTERS) :] = _routes
    return app
