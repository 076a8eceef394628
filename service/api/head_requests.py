"""HEAD requests: every GET route answers them, and no route has to declare it."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.ray_proxy import rules


class HeadRequests:
    """Answers HEAD as GET without the body. Ray's dashboard answers HEAD requests itself."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD" or scope["path"].startswith(rules.PREFIX):
            await self._app(scope, receive, send)
            return
        as_get = {**scope, "method": "GET"}
        streams = asyncio.Event()

        async def send_without_body(message: Message) -> None:
            if message["type"] != "http.response.body":
                await send(message)
            elif not message.get("more_body", False):
                await send({"type": "http.response.body", "body": b""})
            else:
                # A stream may never end, and the client needs none of it.
                streams.set()

        answering = asyncio.ensure_future(self._app(as_get, receive, send_without_body))
        streaming = asyncio.create_task(streams.wait())
        try:
            await asyncio.wait({answering, streaming}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            streaming.cancel()
            is_cut = not answering.done() and answering.cancel()
            await asyncio.wait({answering})
            # The outer layers read the route and the principal from their own scope.
            scope.update({name: value for name, value in as_get.items() if name != "method"})
        if is_cut and answering.cancelled():
            await send({"type": "http.response.body", "body": b""})
        else:
            answering.result()
