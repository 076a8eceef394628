"""The beginning of a run as spans of its job's trace: from the process's start to the first training step.

The run only notes what it reached and when. Once it trains, or ends before that, a thread turns the notes into spans
and sends them: until then no library of OpenTelemetry is loaded, and whatever goes wrong there, the run does not
notice.
"""

import importlib
import logging
import threading
import time
from collections.abc import Mapping

from fgd_core.spec.attempts import Assignment
from fgd_core.spec.event_state import read_trial_event
from fgd_core.spec.events import DeviceReady, EvaluationProgress, Progress, RunEvent, RunFinished
from fgd_core.spec.tracing import TRACEPARENT, is_on, is_sampled
from fgd_core.spec.trials import TrialEvent, TrialStarted

_log = logging.getLogger(__name__)


class StartTrace:
    """
    Args:
        environment: says below which span the run is, and where spans go; without either, this does nothing.
        process_age_s: how long ago the process began.
    """

    def __init__(self, environment: Mapping[str, str], process_age_s: float) -> None:
        self._parent = environment.get(TRACEPARENT, "")
        self._is_open = is_on(environment) and is_sampled(self._parent)
        self._began_s = time.time() - process_age_s
        self._reached: list[tuple[str, float]] = []
        self._heard_s = self._began_s
        self._attributes: dict[str, str | int] = {}
        self._kind = ""
        self._num_trials = 0
        self._error: str | None = None
        self._sending: threading.Thread | None = None

    def about(self, assignment: Assignment) -> None:
        self._kind = assignment.spec.kind
        self._attributes = {
            "fgd.job_id": assignment.job_id,
            "fgd.kind": self._kind,
            "fgd.attempt": assignment.number,
        }

    def reached(self, what: str, at_s: float | None = None) -> None:
        """What the time since what was reached before has gone into."""
        if self._is_open:
            self._reached.append((what, time.time() if at_s is None else at_s))

    def heard(self, event: RunEvent) -> None:
        """Takes note of an event that the run has emitted."""
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
                self.reached("model and data", self._heard_s)
                self.reached("first step")
                self._send()
        self._heard_s = time.time()

    def close(self, timeout_s: float) -> None:
        """Send what there is of a run that never came to its work, and wait a little for what is under way."""
        if self._is_open:
            self.reached("the rest")
            self._send()
        if self._sending is not None:
            self._sending.join(timeout_s)

    def _is_first_work(self, event: RunEvent) -> bool:
        """Events of progress come from the first step on; but a teacher is evaluated before its student trains."""
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
        # A daemon: a collector that does not answer must not hold the run's end back.
        self._sending = threading.Thread(target=self._send_quietly, name="fgd-tracing", daemon=True)
        self._sending.start()

    def _send_quietly(self) -> None:
        logging.getLogger("opentelemetry").propagate = False
        logging.getLogger("opentelemetry").addHandler(logging.NullHandler())
        try:
            # By name and only now: its libraries take a quarter of a second to load, and most runs are not traced.
            spans = importlib.import_module("workers.tracing.spans")
            spans.send(self._parent, self._began_s, self._reached, attributes=self._attributes, error=self._error)
        except Exception as error:
            _log.debug("the run's spans were not delivered: %s", error)
