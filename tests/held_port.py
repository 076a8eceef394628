"""Reserves a port for a server that starts later, or several times."""

import socket


class HeldPort:
    """Reserves a free port while it exists; only a server that sets SO_REUSEADDR can listen on the port."""

    def __init__(self) -> None:
        self._held = socket.socket()
        # Bound but not listening: the system then allows a second socket on the port, which listens.
        self._held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._held.bind(("127.0.0.1", 0))
        self.number: int = self._held.getsockname()[1]

    def close(self) -> None:
        self._held.close()
