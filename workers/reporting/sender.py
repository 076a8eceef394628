"""The thread that sends the outbox to the control plane."""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

from fgd_core.errors import ConflictError, NetworkError, SpecError, StaleAttemptError
from fgd_core.retrying import Backoff
from fgd_core.spec.attempts import BatchReply
from fgd_core.spec.events import Warned
from workers.control_plane import BACKGROUND_RETRIES
from workers.reporting.outbox import Outbox
from workers.run_log import ErrorLog, write_error

STREAM = "run"
MAX_EVENTS = 200
PACE_S = 0.2
"""Pause between two batches, so that a burst of events is one batch. The first event of a burst is sent at once."""


class Reports(Protocol):
    """Accepts batches of events."""

    def report(self, stream: str, events: list[str]) -> BatchReply: ...


class Sender:
    """Sends batches and, when there are no events, heartbeats. It retries while the process lives, up to 30 days.

    Args:
        on_stale: called once, from another thread, when the control plane says that this attempt is over.
    """

    def __init__(
        self, outbox: Outbox, control_plane: Reports, *, heartbeat_s: float, on_stale: Callable[[], None]
    ) -> None:
        self._outbox = outbox
        self._control_plane = control_plane
        self._heartbeat_s = heartbeat_s
        self._on_stale = on_stale
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._is_closing = False
        self._errors = ErrorLog("reporting")
        self._batch_size = MAX_EVENTS
        self.is_asked_to_stop = False
        self.is_stale = False
        self._stale_lock = threading.Lock()
        # A daemon: a run whose final event cannot be delivered must still be able to end.
        self._thread = threading.Thread(target=self._run, name="fgd-reporting", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Send soon: the outbox has a new event."""
        self._wake.set()

    def flush(self, timeout_s: float) -> bool:
        """Wait until the control plane has all present events; returns True if it has them."""
        deadline = time.monotonic() + timeout_s
        self._hurry.set()
        while self._outbox.num_waiting and not self.is_stale and time.monotonic() < deadline:
            time.sleep(0.005)
        self._hurry.clear()
        return self._outbox.num_waiting == 0

    def close(self, timeout_s: float) -> bool:
        """As `flush`, and send nothing afterwards."""
        self._is_closing = True
        self._wake.set()
        # The pause between two batches ends, too.
        self._hurry.set()
        self._thread.join(timeout_s)
        return self._outbox.num_waiting == 0

    def end_as_stale(self) -> None:
        """Stop sending, because the control plane says that this attempt is over. Safe for several threads."""
        with self._stale_lock:
            was_stale, self.is_stale = self.is_stale, True
        if not was_stale:
            self._on_stale()

    def _run(self) -> None:
        backoff = Backoff(BACKGROUND_RETRIES)
        while not self.is_stale:
            if not self._is_closing and self._outbox.num_waiting == 0:
                self._wake.wait(self._heartbeat_s - PACE_S)
            if self._is_closing and self._outbox.num_waiting == 0:
                return
            self._wake.clear()
            if self._send():
                backoff.succeeded()
                if not self._is_closing:
                    self._hurry.wait(PACE_S)
            elif (pause_s := backoff.failed()) is not None:
                time.sleep(pause_s)
            else:
                write_error("reporting: the retries have ended; events stay in the outbox")
                return

    def _send(self) -> bool:
        events: list[str] = []
        try:
            events = self._outbox.unsent(self._batch_size)
            reply = self._control_plane.report(STREAM, events)
        except StaleAttemptError:
            self.end_as_stale()
            return False
        except SpecError as error:
            self._errors.write(error)
            return self._isolate(events)
        except (NetworkError, ConflictError, OSError) as error:
            # Any server may answer at this address while the control plane restarts. Only a 409 is about this run.
            self._errors.write(error)
            return False
        self._errors.clear()
        self._batch_size = MAX_EVENTS
        self.is_asked_to_stop = self.is_asked_to_stop or reply.signal != "continue"
        return self._outbox.acknowledge(reply.acknowledged) or not events

    def _isolate(self, events: list[str]) -> bool:
        """Find the event for which a batch was refused, and report a warning in its place."""
        if len(events) > 1:
            self._batch_size = 1
            return True
        if not events:
            return False
        substitute = Warned(code="event_refused", message="the control plane could not read an event of this run")
        sequence = self._outbox.first_waiting
        line = (
            f'{{"sequence":{sequence},"at":"{datetime.now(UTC).isoformat()}","event":{substitute.model_dump_json()}}}'
        )
        try:
            return self._outbox.acknowledge(self._control_plane.report(STREAM, [line]).acknowledged)
        except (NetworkError, ConflictError, SpecError):
            return False
