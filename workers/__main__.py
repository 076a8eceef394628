"""The entry point of every Ray job: `python -m workers`.

The environment says who it is: FGD_URL, FGD_ATTEMPT_ID, FGD_ATTEMPT_TOKEN. It exits with 0 when the run has succeeded
or was asked to stop, with 1 otherwise.
"""

import os
import platform
import signal
import socket
import sys
import threading
import time
import traceback
from datetime import UTC, datetime
from types import FrameType

from fgd_core.errors import ConflictError, FgdError, NetworkError
from fgd_core.spec.attempts import Assignment
from fgd_core.spec.events import RunFinished, RunStarted
from fgd_core.spec.results import ErrorReport
from workers.process_age import process_age_s
from workers.reporting import backoff
from workers.reporting.context import HttpContext
from workers.reporting.control_plane import ControlPlane
from workers.reporting.outbox import Outbox
from workers.reporting.sender import Sender
from workers.runs import runner
from workers.tracing import StartTrace

ASSIGNMENT_TIMEOUT_S = 600.0
"""How long a control plane that is away at the start is waited for."""
FIRST_WORD_TIMEOUT_S = 0.5
"""How long the run holds back for its first event to arrive; it takes some hundredths."""
LAST_WORD_TIMEOUT_S = 600.0
"""How long a control plane that is away at the end is waited for: once back, it must learn how the run ended."""
STOPPED_TIMEOUT_S = 3.0
"""The same for a run that Ray is stopping: its SIGKILL is near, and whoever stops Ray itself waits for it."""
TRACE_TIMEOUT_S = 2.0
"""How long a collector that takes no spans is waited for, where the run ends before they have arrived."""
STALE_GRACE_S = 10.0
"""How long a run may take to notice that its attempt is over, before its process is ended under it."""


def main() -> int:
    seconds = {"process_start": process_age_s()}
    trace = StartTrace(os.environ, seconds["process_start"])
    trace.reached("process start")
    try:
        return _report_and_run(trace, seconds)
    finally:
        trace.close(TRACE_TIMEOUT_S)


def _report_and_run(trace: StartTrace, seconds: dict[str, float]) -> int:
    began = time.monotonic()
    try:
        control_plane = _control_plane()
    except ConflictError as error:
        _say(str(error))
        return 1
    try:
        assignment = _assignment(control_plane)
        trace.about(assignment)
        context = HttpContext(assignment, control_plane, on_stale=_end_soon, heard=trace.heard)
    except (ConflictError, NetworkError) as error:
        _say(f"the run cannot begin: {error}")
        return 1
    except FgdError as error:
        _say(f"the run cannot begin: {error}")
        _report_failure(control_plane, error)
        return 1
    seconds["assignment"] = time.monotonic() - began
    trace.reached("assignment")
    _stop_on_sigterm(context)
    _say(f"job {assignment.spec.name} ({assignment.spec.kind}, {assignment.job_id}), attempt {assignment.number}")
    context.emit(
        RunStarted(host=socket.gethostname(), pid=os.getpid(), python=platform.python_version(), seconds=seconds)
    )
    # Loading torch keeps the interpreter so busy that the event, if still here, would arrive half a second later.
    context.flush(FIRST_WORD_TIMEOUT_S)
    trace.reached("first word")
    outcome = _run(assignment, context, trace)
    if not context.close(STOPPED_TIMEOUT_S if context.is_asked_to_stop.is_set() else LAST_WORD_TIMEOUT_S):
        _say("not all events could be delivered; they lie in the job's outbox folder")
    return 0 if outcome.outcome in ("succeeded", "stopped") else 1


def _control_plane() -> ControlPlane:
    try:
        # Out of the environment, so that no process that the run starts inherits the token.
        return ControlPlane(os.environ["FGD_URL"], os.environ["FGD_ATTEMPT_ID"], os.environ.pop("FGD_ATTEMPT_TOKEN"))
    except KeyError as error:
        raise ConflictError(
            "this is the entry point of Ray jobs, and the control plane starts it; to run a specification by hand, use "
            "python -m fgd_core run",
            missing_variable=str(error.args[0]),
        ) from error


def _assignment(control_plane: ControlPlane) -> Assignment:
    deadline = time.monotonic() + ASSIGNMENT_TIMEOUT_S
    failures = 0
    while True:
        try:
            return control_plane.assignment()
        except NetworkError as error:
            if time.monotonic() > deadline:
                raise
            if failures == 0:
                _say(f"waiting for the control plane: {error}")
            time.sleep(backoff.pause_s(failures))
            failures += 1


def _run(assignment: Assignment, context: HttpContext, trace: StartTrace) -> RunFinished:
    try:
        began = time.monotonic()
        # Only now, for the first event must not wait the seconds that torch takes to load.
        run = runner(assignment.spec.kind)

        context.start_seconds["imports"] = time.monotonic() - began
        trace.reached("imports")
        outcome = run(assignment, context)
    except Exception as error:
        outcome = _failed(error)
    if context.outcome is None:
        context.emit(outcome)
    return outcome


def _report_failure(control_plane: ControlPlane, error: FgdError) -> None:
    """Deliver the last word of a run that has come to no folder for its outbox."""
    outbox = Outbox(None)
    outbox.append(datetime.now(UTC), _failed(error).model_dump_json())
    Sender(outbox, control_plane, heartbeat_s=5.0, on_stale=lambda: None).close(LAST_WORD_TIMEOUT_S)


def _failed(error: Exception) -> RunFinished:
    known = error if isinstance(error, FgdError) else FgdError(f"{type(error).__name__}: {error}")
    report = ErrorReport(
        code=known.code,
        message=known.message,
        details=known.details,
        retryable=known.retryable,
        traceback=traceback.format_exc(),
    )
    return RunFinished(outcome="failed", error=report)


def _stop_on_sigterm(context: HttpContext) -> None:
    """Ray stops a run with SIGTERM to all of its processes, and SIGKILL some seconds later."""
    run_pid = os.getpid()

    def on_sigterm(number: int, frame: FrameType | None) -> None:
        # Processes that read images inherit this handler; they have to serve until the run has saved.
        if os.getpid() == run_pid:
            context.ask_to_stop()

    signal.signal(signal.SIGTERM, on_sigterm)


def _end_soon() -> None:
    """End a run that another attempt has replaced, whatever it is busy with: it must not write beside the other."""
    _say("another attempt has taken over, or the job is over; this run ends")
    ending = threading.Timer(STALE_GRACE_S, os._exit, (1,))
    ending.daemon = True
    ending.start()


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
