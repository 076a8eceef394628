import socket

import pytest

from tests.held_port import HeldPort


def test_a_server_comes_and_goes_on_a_port_that_stays_its_own() -> None:
    held = HeldPort()
    for _ in range(2):
        with socket.create_server(("127.0.0.1", held.number)), socket.create_connection(("127.0.0.1", held.number)):
            pass
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", held.number))
    # Whoever asks for any free port is given another.
    others = [HeldPort() for _ in range(100)]
    assert held.number not in {other.number for other in others}
    for each in (held, *others):
        each.close()
