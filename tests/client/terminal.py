"""A real terminal of a given size, with `fgd` running in it."""

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
    """`screen` is all that was written to it so far, without colours and movements of the cursor."""

    def __init__(self, *arguments: str, columns: int, lines: int = 24) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "service.client.cli", *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment | {"TERM": "xterm-256color"},
            start_new_session=True,
        )
        os.close(theirs)
        self._written = b""
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    @property
    def screen(self) -> str:
        return _CONTROL.sub("", self._written.decode(errors="replace")).replace("\r", "")

    def interrupt(self) -> int:
        """Ctrl-C; the exit code."""
        self._process.send_signal(signal.SIGINT)
        code = self._process.wait(timeout=30)
        self._reading.join(timeout=30)
        return code

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reading.join(timeout=30)
        os.close(self._ours)

    def _read(self) -> None:
        # Linux reports the end of the other side as an error.
        with contextlib.suppress(OSError):
            while block := os.read(self._ours, 65536):
                self._written += block
