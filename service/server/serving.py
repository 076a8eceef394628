"""The HTTP server of a control plane."""

import contextlib
import gc
import socket
from collections.abc import Iterator

import uvicorn
from fastapi import FastAPI

from service.api import slow_readers
from service.api.deps import Services


class Server(uvicorn.Server):
    """Serves the application; disconnects clients that do not read, and ends event streams before it shuts down.

    Args:
        handles_signals: False if the caller handles SIGINT and SIGTERM itself.
    """

    def __init__(self, config: uvicorn.Config, *, handles_signals: bool = True) -> None:
        if isinstance(config.app, FastAPI):
            slow_readers.cut_off(config, after_s=config.app.state.services.settings.slow_reader_s)
        super().__init__(config)
        self._handles_signals = handles_signals

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening."""
        await super().startup(sockets)
        # Imported modules stay in memory. Each search of them for garbage would block all requests for 0.1 s.
        gc.collect()
        gc.freeze()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, and wait for open connections."""
        app = self.config.app
        if isinstance(app, FastAPI):
            services: Services = app.state.services
            services.database.notifier.close()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals while the block runs, if this server has to."""
        with super().capture_signals() if self._handles_signals else contextlib.nullcontext():
            yield
