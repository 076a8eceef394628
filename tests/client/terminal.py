"""Runs `fgd` in a real terminal of a given size."""

import contextlib
import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """Runs `fgd`; `screen` is its output so far, without colours and cursor movements."""

    def __init__(self, *arguments: str, columns: int, lines: int = 24) -> None:
        self._our_end, child_end = pty.openpty()
        fcntl.ioctl(child_end, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "service.client.cli", *arguments],
            stdin=child_end,
            stdout=child_end,
            stderr=child_end,
            env=environment | {"TERM": "xterm-256color"},
            start_new_session=True,
        )
        os.close(child_end)
        self._written = b""
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    @property
    def screen(self) -> str:
        return _CONTROL.sub("", self._written.decode(errors="replace")).replace("\r", "")

    def interrupt(self) -> int:
        """Press Ctrl-C, and return the exit code."""
        self._process.send_signal(signal.SIGINT)
        code = self._process.wait(timeout=240)
        self._reading.join(timeout=240)
        return code

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reading.join(timeout=240)
        os.close(self._our_end)

    def _read(self) -> None:
        # Linux reports the end of the child as an error.
        with contextlib.suppress(OSError):
            while block := os.read(self._our_end, 65536):
                self._written += block
