"""Traces the start of a run as spans of its job's trace: from the process's start to the first training step.

The run only records which point it reached and when. Once it trains, or ends before that, a thread converts the records
to spans and sends them. Until then no OpenTelemetry library is loaded, and an error in the thread does not disturb the
run.
"""

import importlib
import logging
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from fgd_core.spec.attempts import Assignment
from fgd_core.spec.event_state import read_trial_event
from fgd_core.spec.events import DeviceReady, EvaluationProgress, Progress, RunEvent, RunFinished
from fgd_core.spec.tracing import TRACEPARENT, is_on, is_sampled
from fgd_core.spec.trials import TrialEvent, TrialStarted

_IMPORTED_S = time.monotonic()
_log = logging.getLogger(__name__)


def process_age_s() -> float:
    """Return the seconds since this process started, including the interpreter's start and its imports.

    The precision is 0.01 s. On a system without /proc, this is the time since this module was imported.
    """
    try:
        # The process name, in brackets, may contain any character; the start time is the 20th field after it.
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        return time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError):
        return time.monotonic() - _IMPORTED_S


class StartTrace:
    """Records the points that a run reaches, and sends them once.

    Args:
        environment: contains the parent span of the run and the address of the collector; without one of these, the
            trace is off.
        process_age_s: seconds since the process started.
    """

    def __init__(self, environment: Mapping[str, str], process_age_s: float) -> None:
        self._parent = environment.get(TRACEPARENT, "")
        self._is_open = is_on(environment) and is_sampled(self._parent)
        self._began_s = time.time() - process_age_s
        self._reached: list[tuple[str, float]] = []
        self._last_event_s = self._began_s
        self._attributes: dict[str, str | int] = {}
        self._kind = ""
        self._num_trials = 0
        self._error: str | None = None
        self._thread: threading.Thread | None = None

    def describe(self, assignment: Assignment) -> None:
        """Set the attributes of all spans."""
        self._kind = assignment.spec.kind
        self._attributes = {
            "fgd.job_id": assignment.job_id,
            "fgd.kind": self._kind,
            "fgd.attempt": assignment.number,
        }

    def reached(self, what: str, at_s: float | None = None) -> None:
        """Record a point; the time since the point before becomes a span of this name.

        Args:
            at_s: seconds since the epoch; now, unless given.
        """
        if self._is_open:
            self._reached.append((what, time.time() if at_s is None else at_s))

    def observe(self, event: RunEvent) -> None:
        """Record the point that an event of the run marks."""
        if not self._is_open:
            return
        match event:
            case RunFinished() if event.error is not None:
                self._error = f"{event.error.code}: {event.error.message}"
            case DeviceReady():
                self.reached("device")
            case TrialStarted() if self._num_trials == 0:
                self._num_trials += 1
                self.reached("trial chosen")
            case _ if self._is_first_work(event):
                self.reached("model and data", self._last_event_s)
                self.reached("first step")
                self._send()
        self._last_event_s = time.time()

    def close(self, timeout_s: float) -> None:
        """Send the spans of a run that ended before its first step, and wait until the spans are sent."""
        if self._is_open:
            self.reached("the rest")
            self._send()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _is_first_work(self, event: RunEvent) -> bool:
        """Progress events begin with the first step; but a teacher is evaluated before its student trains."""
        match event:
            case Progress():
                return True
            case EvaluationProgress():
                return self._kind == "evaluate"
            case TrialEvent():
                return isinstance(read_trial_event(event), Progress)
        return False

    def _send(self) -> None:
        self._is_open = False
        # A daemon: a collector that does not answer must not delay the end of the run.
        self._thread = threading.Thread(target=self._send_quietly, name="fgd-tracing", daemon=True)
        self._thread.start()

    def _send_quietly(self) -> None:
        logging.getLogger("opentelemetry").propagate = False
        logging.getLogger("opentelemetry").addHandler(logging.NullHandler())
        try:
            # By name and only now: its libraries take a quarter of a second to load, and most runs are not traced.
            spans = importlib.import_module("workers.tracing.spans")
            spans.send(self._parent, self._began_s, self._reached, attributes=self._attributes, error=self._error)
        except (ImportError, OSError, ValueError, RuntimeError) as error:
            _log.debug("the run's spans were not delivered: %s", error)
