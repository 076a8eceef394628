"""Proxies between a client and a server on this machine."""

import contextlib
import socket
import threading
from abc import ABC, abstractmethod


class _Proxy(ABC):
    """Accepts connections on a free port and carries each one to a port of this machine, in a thread."""

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"
        self.url = f"http://{self.address}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    @abstractmethod
    def _carry(self, client: socket.socket, server: socket.socket) -> None: ...

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._target) as server, contextlib.suppress(OSError):
            self._carry(client, server)


class CuttingProxy(_Proxy):
    """Cuts each of the first connections after a number of bytes of the answer."""

    def __init__(self, port: int, *, cut_after_bytes: int, num_cuts: int) -> None:
        self._cut_after_bytes = cut_after_bytes
        self.cuts_left = num_cuts
        super().__init__(port)

    def _carry(self, client: socket.socket, server: socket.socket) -> None:
        threading.Thread(target=_pump, args=(client, server), daemon=True).start()
        passed = 0
        while block := server.recv(512):
            passed += len(block)
            if passed > self._cut_after_bytes and self.cuts_left > 0:
                self.cuts_left -= 1
                client.shutdown(socket.SHUT_RDWR)
                return
            client.sendall(block)
        client.shutdown(socket.SHUT_RDWR)


class ForwardProxy(_Proxy):
    """Forwards requests for any host to one port of this machine; without CONNECT, one request per connection."""

    def __init__(self, port: int) -> None:
        self.requests: list[str] = []
        """The first line of each connection: `CONNECT host:port HTTP/1.1`, or `GET http://host/path HTTP/1.1`."""
        super().__init__(port)

    def _carry(self, client: socket.socket, server: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            block = client.recv(4096)
            if not block:
                return
            head += block
        self.requests.append(head.partition(b"\r\n")[0].decode())
        if head.startswith(b"CONNECT "):
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            method, url, rest = head.split(b" ", 2)
            path = b"/" + url.split(b"/", 3)[3]
            server.sendall(b" ".join((method, path, rest)))
        threading.Thread(target=_pump, args=(client, server), daemon=True).start()
        _pump(server, client)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while block := source.recv(4096):
            sink.sendall(block)
        sink.shutdown(socket.SHUT_WR)
