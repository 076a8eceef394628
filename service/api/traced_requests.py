"""Each request is a span, below the caller's own where it sends a `traceparent`; lines of the log carry its trace."""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.tracing import Tracing, logged

_UNTRACED = ("/v1/attempts/", "/livez", "/readyz", "/metrics")
"""What comes every second and says little: reports of runs, probes, scrapes."""


class TracedRequests:
    def __init__(self, app: ASGIApp, tracing: Tracing) -> None:
        self._app = app
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(_UNTRACED):
            await self._app(scope, receive, send)
            return
        parent = Headers(scope=scope).get("traceparent")
        method = scope["method"]
        with self._tracing.span(method, kind="server", parent=parent or "", attributes=_about(scope)) as span:

            async def send_noted(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.note({"http.response.status_code": message["status"]})
                    if message["status"] >= 500:
                        span.fail("the server is in trouble")
                await send(message)

            with logged(span):
                await self._app(scope, receive, send_noted)
            # Known once the request has found it: the path with its parameters' names, and not with each job's id.
            route = getattr(scope.get("route"), "path", None)
            if route is not None:
                span.rename(f"{method} {route}")
                span.note({"http.route": route})


def _about(scope: Scope) -> dict[str, str | int]:
    return {"http.request.method": scope["method"], "url.path": scope["path"], "url.scheme": scope["scheme"]}
