"""A client that does not take what is ready for it loses its connection, and with it nothing: it may come back.

Without this it would keep its connection, its task and a buffer for as long as it likes; and closing the connection in
the ordinary way would wait for the buffer to be taken, which is just what does not happen.
"""

import asyncio
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol


def cut_off(config: uvicorn.Config, *, after_s: float) -> None:
    """Have a server that is made from `config` drop connections whose peer takes nothing for `after_s`."""

    class Impatient(H11Protocol):
        _cut: asyncio.TimerHandle | None = None

        def pause_writing(self) -> None:
            super().pause_writing()
            self._cut = self.loop.call_later(after_s, self._abort)

        def resume_writing(self) -> None:
            self._be_content()
            super().resume_writing()

        def connection_lost(self, exc: Exception | None) -> None:
            self._be_content()
            super().connection_lost(exc)

        def _abort(self) -> None:
            self.transport.abort()

        def _be_content(self) -> None:
            if self._cut is not None:
                self._cut.cancel()
                self._cut = None

    protocol: Any = Impatient
    config.http = protocol
