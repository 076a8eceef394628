"""Makes links for people: to this server, and through its proxy to a run on Ray's dashboard."""

from contextlib import suppress
from contextvars import ContextVar
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

RAY = "/ray/"

_base: ContextVar[str | None] = ContextVar("base", default=None)


class ClientAddress:
    """Middleware that remembers how a client addressed this server, so that the links in its response work."""

    def __init__(self, app: ASGIApp, path: str) -> None:
        self._app = app
        self._path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            host = headers.get("Host", "")
            # An invalid name must not get into a link; the stored links remain.
            with suppress(ValueError):
                if host and urlsplit(f"//{host}").netloc == host:
                    _base.set(f"{scheme(scope)}://{host}{self._path}")
        await self._app(scope, receive, send)


def scheme(scope: Scope) -> str:
    """Return the scheme that the client used: a proxy in front of this server reports it in X-Forwarded-Proto."""
    forwarded = Headers(scope=scope).get("X-Forwarded-Proto", "").partition(",")[0].strip().lower()
    return forwarded if forwarded in ("http", "https") else str(scope["scheme"])


def addressed() -> str | None:
    """Return the address by which the client of the current request reached this server; None outside of requests."""
    return _base.get()


def run_page(base: str, submission_id: str) -> str:
    """Return the address of a run's page on Ray's dashboard."""
    return f"{base}{RAY}#/jobs/{quote(submission_id, safe='')}"
