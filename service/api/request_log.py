"""Request ids, the log of requests and their metrics; the answer to exceptions that nothing else handles."""

import re
import time
import uuid

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api import problems
from service.metrics import Metrics

HEADER = "X-Request-ID"
_FREQUENT = ("/v1/attempts/", "/ray/", "/livez", "/readyz")
_ACCEPTABLE = re.compile(r"^[A-Za-z0-9._-]{1,64}$")

log = structlog.get_logger(__name__)


class RequestLog:
    """Gives each request an id, logs and measures it, and answers 500 to an unhandled exception.

    The id is the client's `X-Request-ID` if it is well-formed, else a new one. The response and every line that is
    logged during the request carry it.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(HEADER, "")
        request_id = given if _ACCEPTABLE.match(given) else uuid.uuid4().hex
        status: int | None = None
        answered_s: float | None = None

        async def send_with_id(message: Message) -> None:
            nonlocal status, answered_s
            if message["type"] == "http.response.start":
                status, answered_s = message["status"], time.monotonic()
                MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        began_at = time.monotonic()
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, send_with_id)
            except Exception as error:
                # The outermost handler: every defect becomes a problem with the request's id, and without a traceback.
                answer = problems.internal(error)
                if status is None:
                    await answer(scope, receive, send_with_id)
            finally:
                route = getattr(scope.get("route"), "path", None)
                seconds = (answered_s or time.monotonic()) - began_at
                self._metrics.answers(route, scope["method"], status, seconds)
            duration_ms = round((time.monotonic() - began_at) * 1000, 1)
            # Runs report about once a second, and Ray's pages poll as often: these requests would bury all others.
            level = log.debug if scope["path"].startswith(_FREQUENT) else log.info
            level("request", method=scope["method"], path=scope["path"], status=status, duration_ms=duration_ms)
