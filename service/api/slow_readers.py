"""Slow readers: a connection whose client does not read what the server sends is cut; the client may reconnect.

Without this, such a client would hold its connection, its task and a buffer without a limit. An ordinary close
would not help: it waits until the client has read the buffer.

This module is the only one that uses uvicorn's private HTTP protocol class.
"""

import asyncio
from typing import cast

import uvicorn
from uvicorn.config import HTTPProtocolType
from uvicorn.protocols.http.h11_impl import H11Protocol


def cut_off(config: uvicorn.Config, *, after_s: float) -> None:
    """Make the server of `config` drop a connection whose client reads nothing for `after_s` seconds."""

    class CuttingProtocol(H11Protocol):
        _timer: asyncio.TimerHandle | None = None

        def pause_writing(self) -> None:
            super().pause_writing()
            self._timer = self.loop.call_later(after_s, self._abort)

        def resume_writing(self) -> None:
            self._stop_timer()
            super().resume_writing()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_timer()
            super().connection_lost(exc)

        def _abort(self) -> None:
            self.transport.abort()

        def _stop_timer(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    config.http = cast(HTTPProtocolType, CuttingProtocol)
