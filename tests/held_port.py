"""A port for a server that starts later, or again: once let go of, a port may be given to somebody else."""

import socket


class HeldPort:
    """Nobody else is given the port while this object lives; a server that sets SO_REUSEADDR can listen on it."""

    def __init__(self) -> None:
        self._held = socket.socket()
        # Bound and not listening: so the system allows a second socket on it, which listens.
        self._held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._held.bind(("127.0.0.1", 0))
        self.number: int = self._held.getsockname()[1]

    def close(self) -> None:
        self._held.close()
