"""Runs `fgd up` as a child process that never outlives this process."""

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, JsonValue, ValidationError

from fgd_core.errors import FgdError

# Ray needs some seconds to stop; a child that needs longer than this hangs.
_STOP_TIMEOUT_S = 90.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Error(BaseModel):
    message: str
    details: dict[str, JsonValue]


class _Answer(BaseModel):
    """The line that `fgd up --json` prints: the server's URL, or the error that kept it from starting."""

    url: str = ""
    error: _Error | None = None


@contextlib.contextmanager
def control_plane(home: Path) -> Iterator[str]:
    """Start `fgd up` in `home` on free ports, yield its URL, and stop it with its Ray at the end of the block.

    The child stops however the block ends: normally, by an error, or by Ctrl-C, SIGTERM or SIGHUP, which all become
    KeyboardInterrupt. If this process is killed, the child's standard input closes, and the child stops.

    Raises:
        FgdError: the server did not start; the message says why.
    """
    with _signals_as_interrupts():
        child: subprocess.Popen[str] | None = None
        try:
            with _interrupts_deferred():
                child = _spawn(home)
            yield _url(child)
        finally:
            if child is not None:
                with _interrupts_deferred():
                    _stop(child)


def _spawn(home: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "service.client.cli", "up"),
            *("--home", str(home), "--port", "0", "--json", "--until-stdin-closes"),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # A new session: Ctrl-C reaches only this process, which then stops the child in order.
        start_new_session=True,
    )


def _url(child: "subprocess.Popen[str]") -> str:
    assert child.stdout is not None
    line = child.stdout.readline()
    try:
        answer = _Answer.model_validate_json(line)
    except ValidationError as cause:
        raise FgdError("the server did not start; see its output above", exit_code=child.wait()) from cause
    if answer.error is not None:
        raise FgdError(answer.error.message, **answer.error.details)
    return answer.url


def _stop(child: "subprocess.Popen[str]") -> None:
    assert child.stdin is not None and child.stdout is not None
    with contextlib.suppress(BrokenPipeError):
        child.stdin.close()
    child.terminate()
    try:
        child.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    child.stdout.close()


@contextlib.contextmanager
def _signals_as_interrupts() -> Iterator[None]:
    """Raise KeyboardInterrupt on SIGTERM and SIGHUP: by default they end Python without any clean-up."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _interrupts_deferred() -> Iterator[None]:
    """Defer signals to the end of the block, which starts or stops a process and must finish."""
    received: list[int] = []
    before = {number: signal.signal(number, lambda number, frame: received.append(number)) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if received:
        raise KeyboardInterrupt
