"""Addresses of pages that people open: of a run on Ray's dashboard, by way of our own door."""

from contextlib import suppress
from contextvars import ContextVar
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

RAY = "/ray/"

_base: ContextVar[str | None] = ContextVar("base", default=None)


class Addressed:
    """Notes how the client of a request has called this server, so that links in its answer work where it is."""

    def __init__(self, app: ASGIApp, path: str) -> None:
        self._app = app
        self._path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            host = headers.get("Host", "")
            # A name that is none belongs in no link; what is stored is good enough for who sends one.
            with suppress(ValueError):
                if host and urlsplit(f"//{host}").netloc == host:
                    _base.set(f"{scheme(scope)}://{host}{self._path}")
        await self._app(scope, receive, send)


def scheme(scope: Scope) -> str:
    """`https` also where something in front of this server speaks it for us, and says so."""
    told = Headers(scope=scope).get("X-Forwarded-Proto", "").partition(",")[0].strip().lower()
    return told if told in ("http", "https") else str(scope["scheme"])


def addressed() -> str | None:
    """The server's address as the client of the present request has it; None outside of requests."""
    return _base.get()


def run_page(base: str, submission_id: str) -> str:
    """A run's page on Ray's dashboard."""
    return f"{base}{RAY}#/jobs/{quote(submission_id, safe='')}"
