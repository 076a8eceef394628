"""Writes a run's events as plain lines: what a person reads on the log page of the Ray dashboard."""

import sys

from fgd_core.spec.event_text import FREQUENT, describe
from fgd_core.spec.events import RunEvent


def tell(event: RunEvent) -> None:
    """Write the event's line to the run's own output, unless such events come every second. Never raises."""
    text = describe(event) if not isinstance(event, FREQUENT) else None
    if text is not None:
        say(text)


def say(text: str) -> None:
    """Write a line to the run's own output. Never raises."""
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except (OSError, ValueError):
        # A full disk or a closed pipe below Ray's log must not end the run.
        return
