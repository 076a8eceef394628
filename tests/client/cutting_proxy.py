"""A network that breaks: passes bytes on, and cuts the first connections after so many bytes of answer."""

import contextlib
import socket
import threading


class CuttingProxy:
    def __init__(self, port: int, *, cut_after_bytes: int, num_cuts: int) -> None:
        self._target = ("127.0.0.1", port)
        self._cut_after_bytes = cut_after_bytes
        self.cuts_left = num_cuts
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._target) as server, contextlib.suppress(OSError):
            threading.Thread(target=self._pump, args=(client, server), daemon=True).start()
            passed = 0
            while block := server.recv(512):
                passed += len(block)
                if passed > self._cut_after_bytes and self.cuts_left > 0:
                    self.cuts_left -= 1
                    client.shutdown(socket.SHUT_RDWR)
                    return
                client.sendall(block)
            client.shutdown(socket.SHUT_RDWR)

    @staticmethod
    def _pump(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while block := source.recv(4096):
                sink.sendall(block)
