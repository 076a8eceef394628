"""The run's own log: its standard output and standard error, which the Ray dashboard shows."""

import sys
from typing import TextIO

from fgd_core.spec.event_text import FREQUENT, describe
from fgd_core.spec.events import RunEvent


def write_line(text: str) -> None:
    """Write a line to standard output. Never raises."""
    _write(sys.stdout, text)


def write_error(text: str) -> None:
    """Write a line to standard error. Never raises."""
    _write(sys.stderr, text)


def write_event(event: RunEvent) -> None:
    """Write an event's line to standard output, unless events of its kind come every second. Never raises."""
    text = describe(event) if not isinstance(event, FREQUENT) else None
    if text is not None:
        write_line(text)


class ErrorLog:
    """Writes the errors of a loop that retries, each kind of error once in a row.

    Args:
        topic: the beginning of each line.
    """

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._kind = ""

    def write(self, error: Exception) -> bool:
        """Write the error unless the one before was of the same kind; returns True if it was written."""
        kind = type(error).__name__
        if kind == self._kind:
            return False
        self._kind = kind
        write_error(f"{self._topic}: {error}")
        return True

    def clear(self) -> None:
        """Write the next error of any kind: the loop has succeeded since the last error."""
        self._kind = ""


def _write(stream: TextIO, text: str) -> None:
    try:
        stream.write(text + "\n")
        stream.flush()
    except (OSError, ValueError):
        # A full disk or a closed pipe below Ray's log must not end the run.
        return
