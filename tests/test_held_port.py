import socket

import pytest

from tests.held_port import HeldPort


def test_a_held_port_can_be_listened_on_several_times() -> None:
    held = HeldPort()
    for _ in range(2):
        with socket.create_server(("127.0.0.1", held.number)), socket.create_connection(("127.0.0.1", held.number)):
            pass
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", held.number))
    # A request for any free port gets another port.
    others = [HeldPort() for _ in range(100)]
    assert held.number not in {other.number for other in others}
    for each in (held, *others):
        each.close()
