"""Gives all applications of a test process the same routes and the same description of the API.

FastAPI builds the models of a route's answers at its first request, which took a quarter of the time of a test with a
few requests, and the description for each application, which takes five seconds.
"""

from fastapi import FastAPI

from service.api.routes import ROUTERS

_first: list[FastAPI] = []


def with_shared_routes(app: FastAPI) -> FastAPI:
    """Replace the routes by those of the first application, and the description if that one has built it.

    Routes hold nothing of their application.
    """
    if not _first:
        _first.append(app)
    app.router.routes[-len(ROUTERS) :] = _first[0].router.routes[-len(ROUTERS) :]
    app.openapi_schema = _first[0].openapi_schema
    return app
