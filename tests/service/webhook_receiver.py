"""A receiver of webhooks on the loopback, whose answers a test sets."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Received:
    """One received request."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def body_json(self) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(self.body)
        return body


class Receiver:
    def __init__(self) -> None:
        self.received: list[Received] = []
        self.answers = "204 No Content\r\n"
        """Status line and headers of the next answers."""
        self.is_silent = False
        """True: read the request and never answer."""
        self.was_called = asyncio.Event()
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?a=b"

    async def on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            body = await reader.readexactly(int(headers["content-length"]))
            self.received.append(Received(first.split(" ")[1], headers, body))
            self.was_called.set()
            if self.is_silent:
                await reader.read()
            else:
                writer.write(f"HTTP/1.1 {self.answers}Connection: close\r\n\r\n".encode())
                await writer.drain()
        finally:
            writer.close()


@asynccontextmanager
async def receiver() -> AsyncIterator[Receiver]:
    listener = Receiver()
    server = await asyncio.start_server(listener.on_connection, "127.0.0.1", 0)
    listener.port = server.sockets[0].getsockname()[1]
    try:
        yield listener
    finally:
        server.close()
