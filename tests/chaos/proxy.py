"""A TCP proxy in front of the control planes: its address stays while they come and go."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

from tests.held_port import HeldPort

BLOCK_BYTES = 65_536
CONNECT_TIMEOUT_S = 2.0


class Proxy:
    """Forwards each connection to the first control plane that accepts it; it can be cut.

    Args:
        ports: of the control planes on this machine.
    """

    def __init__(self, ports: Sequence[int]) -> None:
        self._ports = list(ports)
        self._turn = 0
        self._open_connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._held = HeldPort()
        self.port = self._held.number
        self.url = f"http://127.0.0.1:{self.port}"
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self.open()

    def open(self) -> None:
        async def listen() -> None:
            self._server = await asyncio.start_server(self._forward, "127.0.0.1", self.port)

        self._do(listen)

    def cut(self) -> None:
        """Refuse new connections, and cut the open ones."""

        async def cut_all() -> None:
            assert self._server is not None
            self._server.close()
            for task in tuple(self._open_connections):
                task.cancel()

        self._do(cut_all)

    def close(self) -> None:
        with suppress(RuntimeError):
            self.cut()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(5)

    def _do(self, what: Callable[[], "asyncio.Future[None] | object"]) -> None:
        asyncio.run_coroutine_threadsafe(what(), self._loop).result(10)  # type: ignore[arg-type]

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open_connections.add(task)
        try:
            backend = await self._connect()
            if backend is not None:
                await _relay((reader, writer), backend)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._open_connections.discard(task)
            writer.transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        self._turn += 1
        for offset in range(len(self._ports)):
            port = self._ports[(self._turn + offset) % len(self._ports)]
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    return await asyncio.open_connection("127.0.0.1", port)
        return None


async def _relay(
    one: tuple[asyncio.StreamReader, asyncio.StreamWriter], other: tuple[asyncio.StreamReader, asyncio.StreamWriter]
) -> None:
    """Relay bytes in both directions until one side ends."""
    try:
        pumps = [asyncio.create_task(_pump(one[0], other[1])), asyncio.create_task(_pump(other[0], one[1]))]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
    finally:
        other[1].transport.abort()


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while block := await source.read(BLOCK_BYTES):
        sink.write(block)
        await sink.drain()
