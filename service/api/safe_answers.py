"""Headers on every answer that keep browsers from making more of it than it is."""

import re

from starlette.datastructures import MutableHeaders
from starlette.responses import HTMLResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.ray_proxy import rules

# JSON and files are no pages: whatever is in them neither runs nor is shown within another site's.
_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_EVERYWHERE = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin"}
_OURS = {"Content-Security-Policy": _POLICY, "X-Frame-Options": "DENY", "Cross-Origin-Resource-Policy": "same-origin"}
_OWN_POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">')


class SafeAnswers:
    """What a route says itself counts. Ray's pages frame each other, and get a policy of their own where they pass."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        wanted = _EVERYWHERE if scope["path"].startswith(rules.PREFIX) else _EVERYWHERE | _OURS

        async def send_safe(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in wanted.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_safe)


def page(html: str) -> HTMLResponse:
    """A report, under the policy that the page itself states, for readers who open it from a disk."""
    found = _OWN_POLICY.search(html)
    assert found is not None, "every page states its policy"
    return HTMLResponse(html, headers={"Content-Security-Policy": f"{found[1]}; frame-ancestors 'none'"})
