"""A control plane behind a real socket, for tests of streams."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx
import uvicorn
from control_plane import ControlPlane
from httpx_sse import ServerSentEvent, aconnect_sse

from service.server.serving import Server


class Served:
    def __init__(self, plane: ControlPlane, port: int) -> None:
        self.plane = plane
        self.port = port
        self.client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30)

    async def read(self, job_id: str, *, after: int | None = None, at_most: int = 10**6) -> list[ServerSentEvent]:
        """Yields messages until the server ends the stream, or until there are `at_most`."""
        headers = {} if after is None else {"Last-Event-ID": str(after)}
        return await self.messages(f"/v1/jobs/{job_id}/events", headers=headers, at_most=at_most)

    async def messages(
        self, path: str, *, headers: dict[str, str] | None = None, at_most: int = 10**6
    ) -> list[ServerSentEvent]:
        found: list[ServerSentEvent] = []
        accept = {"Accept": "text/event-stream"}
        async with aconnect_sse(self.client, "GET", path, headers=accept | (headers or {})) as source:
            assert source.response.headers["X-Accel-Buffering"] == "no"
            async for message in source.aiter_sse():
                if message.data:
                    found.append(message)
                if len(found) >= at_most:
                    break
        return found

    async def has_readers(self, count: int) -> None:
        """Wait until this number of event streams is open; they miss no later event."""
        ask = self.plane.services.metrics.registry.get_sample_value
        await until(lambda: sum(ask("fgd_sse_readers", {"stream": of}) or 0 for of in ("job", "all")) == count)


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not is_so():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.01)


@asynccontextmanager
async def served_by(plane: ControlPlane, *, send_buffer_bytes: int | None = None) -> AsyncIterator[Served]:
    # Without its lifespan: the test calls the dispatcher itself.
    server = Server(uvicorn.Config(plane.app, lifespan="off", log_config=None, timeout_graceful_shutdown=3))
    listening = socket.create_server(("127.0.0.1", 0))
    if send_buffer_bytes is not None:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer_bytes)
    running = asyncio.create_task(server.serve([listening]))
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.005)
    served = Served(plane, listening.getsockname()[1])
    try:
        yield served
    finally:
        await served.client.aclose()
        server.should_exit = True
        await running
