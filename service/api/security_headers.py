"""Security headers: they keep a browser from running or framing what the API returns."""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.ray_proxy import rules

# JSON and files are not pages: nothing in them may run, and no other site may frame them.
_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_FOR_ALL = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin"}
_FOR_OURS = {
    "Content-Security-Policy": _POLICY,
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class SecurityHeaders:
    """Adds security headers to every response, except those headers that the route has set itself.

    Pages of Ray's dashboard frame each other; the proxy sets their policy.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        defaults = _FOR_ALL if scope["path"].startswith(rules.PREFIX) else _FOR_ALL | _FOR_OURS

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in defaults.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)
