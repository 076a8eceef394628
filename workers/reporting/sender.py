"""The thread that empties the outbox."""

import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

from fgd_core.errors import ConflictError, NetworkError, SpecError, StaleAttemptError
from fgd_core.spec.attempts import BatchReply
from fgd_core.spec.events import Warned
from workers.reporting import backoff
from workers.reporting.outbox import Outbox

STREAM = "run"
MAX_EVENTS = 200
PACE_S = 0.2
"""Between two batches, so that a burst of events goes as one. The first of a burst goes at once."""


class Reports(Protocol):
    def report(self, stream: str, events: list[str]) -> BatchReply: ...


class Sender:
    """Sends batches and, when there is nothing to send, heartbeats. It tries for as long as the process lives.

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
        self._complaint = ""
        self._batch_size = MAX_EVENTS
        self.is_asked_to_stop = False
        self.is_stale = False
        self._stale_lock = threading.Lock()
        # A daemon: a run whose last word cannot be delivered must still be able to end.
        self._thread = threading.Thread(target=self._run, name="fgd-reporting", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """There is something to send."""
        self._wake.set()

    def flush(self, timeout_s: float) -> bool:
        """Wait until what is there has arrived; whether it has."""
        deadline = time.monotonic() + timeout_s
        self._hurry.set()
        while self._outbox.num_waiting and not self.is_stale and time.monotonic() < deadline:
            time.sleep(0.005)
        self._hurry.clear()
        return self._outbox.num_waiting == 0

    def close(self, timeout_s: float) -> bool:
        """As `flush`, and send nothing more afterwards."""
        self._is_closing = True
        self._wake.set()
        self._thread.join(timeout_s)
        return self._outbox.num_waiting == 0

    def end_as_stale(self) -> None:
        """The control plane has said that this attempt is over; from any thread."""
        with self._stale_lock:
            was_stale, self.is_stale = self.is_stale, True
        if not was_stale:
            self._on_stale()

    def _run(self) -> None:
        failures = 0
        while not self.is_stale:
            if not self._is_closing and self._outbox.num_waiting == 0:
                self._wake.wait(self._heartbeat_s - PACE_S)
            if self._is_closing and self._outbox.num_waiting == 0:
                return
            self._wake.clear()
            if self._send():
                failures = 0
                if not self._is_closing:
                    self._hurry.wait(PACE_S)
            else:
                time.sleep(backoff.pause_s(failures))
                failures += 1

    def _send(self) -> bool:
        events: list[str] = []
        try:
            events = self._outbox.unsent(self._batch_size)
            reply = self._control_plane.report(STREAM, events)
        except StaleAttemptError:
            self.end_as_stale()
            return False
        except SpecError as error:
            self._complain(error)
            return self._isolate(events)
        except (NetworkError, ConflictError, OSError) as error:
            # Anything may answer at this address while the control plane restarts. Only a 409 is a word about this run.
            self._complain(error)
            return False
        self._complaint = ""
        self._batch_size = MAX_EVENTS
        self.is_asked_to_stop = self.is_asked_to_stop or reply.signal != "continue"
        return self._outbox.acknowledge(reply.acknowledged) or not events

    def _isolate(self, events: list[str]) -> bool:
        """A batch was refused for what is in it: find the event that is at fault, and report that instead of it."""
        if len(events) > 1:
            self._batch_size = 1
            return True
        if not events:
            return False
        substitute = Warned(code="event_refused", message="an event could not be read by the control plane")
        sequence = self._outbox.first_waiting
        line = (
            f'{{"sequence":{sequence},"at":"{datetime.now(UTC).isoformat()}","event":{substitute.model_dump_json()}}}'
        )
        try:
            return self._outbox.acknowledge(self._control_plane.report(STREAM, [line]).acknowledged)
        except (NetworkError, ConflictError, SpecError):
            return False

    def _complain(self, error: Exception) -> None:
        """Say what is wrong on Ray's log, once for each kind of trouble."""
        if type(error).__name__ != self._complaint:
            self._complaint = type(error).__name__
            sys.stderr.write(f"reporting: {error}\n")
            sys.stderr.flush()
