"""HEAD is answered as GET is, without the body: every GET has it, and no route has to say so."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.ray_proxy import rules


class HeadAsGet:
    """Stands innermost, so that all around it sees the HEAD that it is. Ray's dashboard answers its own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD" or scope["path"].startswith(rules.PREFIX):
            await self._app(scope, receive, send)
            return
        as_get = {**scope, "method": "GET"}
        streams = asyncio.Event()

        async def send_head(message: Message) -> None:
            if message["type"] != "http.response.body":
                await send(message)
            elif not message.get("more_body", False):
                await send({"type": "http.response.body", "body": b""})
            else:
                # A stream may have no end, and nobody wants any of it.
                streams.set()

        answering = asyncio.ensure_future(self._app(as_get, receive, send_head))
        streaming = asyncio.create_task(streams.wait())
        try:
            await asyncio.wait({answering, streaming}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            streaming.cancel()
            is_cut = not answering.done() and answering.cancel()
            await asyncio.wait({answering})
            # What is noted of a request under its route.
            scope.update({name: value for name, value in as_get.items() if name != "method"})
        if is_cut and answering.cancelled():
            await send({"type": "http.response.body", "body": b""})
        else:
            answering.result()
