"""Fixtures: a real server, a client of it, and `fgd` as a function."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import structlog

from service.client.cli import group
from service.client.client import FgdClient
from tests.client.live_server import LiveServer


class Ended(NamedTuple):
    exit_code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Fgd = Callable[..., Ended]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LiveServer]:
    # The server runs in this process; its log must not appear in the output of `fgd`.
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    server = LiveServer(tmp_path / "home")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def client(server: LiveServer) -> Iterator[FgdClient]:
    with FgdClient(server.url) as client:
        yield client


@pytest.fixture
def fgd(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Fgd:
    """Run `fgd` in this process: `fgd("jobs", "--json")`."""
    monkeypatch.delenv("FGD_SERVER", raising=False)

    def run(*arguments: object) -> Ended:
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            group().main([str(argument) for argument in arguments], prog_name="fgd")
        captured = capsys.readouterr()
        return Ended(int(exit_.value.code or 0), captured.out, captured.err)

    return run
