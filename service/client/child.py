"""A control plane as a child process, which never outlives the one who started it."""

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fgd_core.errors import FgdError

# Ray needs some seconds to end; whoever waits longer than this waits for a process that hangs.
_STOP_TIMEOUT_S = 90.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def control_plane(home: Path) -> Iterator[str]:
    """Start `fgd up` in `home` on free ports; its URL. At the end of the block it is stopped, with its Ray.

    The end comes however the block ends: by itself, by an error, by Ctrl-C, SIGTERM or SIGHUP at any moment, which all
    arrive as KeyboardInterrupt. If this process is killed, the child sees its standard input close, and stops as well.

    Raises:
        FgdError: it did not come up, and why.
    """
    with _signals_as_interrupts():
        child: subprocess.Popen[str] | None = None
        try:
            with _interrupts_held():
                child = _spawn(home)
            yield _url(child)
        finally:
            if child is not None:
                with _interrupts_held():
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
        # A session of its own: a Ctrl-C at the terminal is for us, and we stop the child in order.
        start_new_session=True,
    )


def _url(child: "subprocess.Popen[str]") -> str:
    assert child.stdout is not None
    line = child.stdout.readline()
    try:
        told: dict[str, Any] = json.loads(line)
    except json.JSONDecodeError as cause:
        raise FgdError("the control plane did not come up; what it said is above", exit_code=child.wait()) from cause
    if "error" in told:
        raise FgdError(told["error"]["message"], **told["error"]["details"])
    return str(told["url"])


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
    """SIGTERM and SIGHUP as KeyboardInterrupt: by default they end Python without a chance to clean up."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Put signals off to the end of the block: in it, something is started or ended that must not be lost sight of."""
    came: list[int] = []
    before = {number: signal.signal(number, lambda number, frame: came.append(number)) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        raise KeyboardInterrupt
