"""The entry point of every Ray job: `python -m workers`.

The environment says who it is: FGD_URL, FGD_ATTEMPT_ID and FGD_ATTEMPT_CLAIM, which buys the attempt's token. A control
plane of the version before gives the token itself, FGD_ATTEMPT_TOKEN. It exits with 0 when the run has succeeded or was
asked to stop, with 1 otherwise.
"""

import os
import platform
import secrets
import signal
import socket
import sys
import threading
import time
from datetime import UTC, datetime
from types import FrameType

from fgd_core.errors import ConflictError, FgdError, NetworkError, SpecError
from fgd_core.spec.attempts import Assignment
from fgd_core.spec.events import RunFinished, RunStarted
from workers.metrics.relay import MetricsRelay
from workers.process_age import process_age_s
from workers.reporting.backoff import until_answered
from workers.reporting.context import HttpContext
from workers.reporting.control_plane import ControlPlane, read_assignment
from workers.reporting.last_words import failed
from workers.reporting.narration import say
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
        control_plane, content = _begin()
    except (ConflictError, NetworkError, SpecError) as error:
        say(f"the run cannot begin: {error}")
        return 1
    try:
        assignment = read_assignment(content)
        trace.about(assignment)
        context = HttpContext(assignment, control_plane, on_stale=_end_soon, heard=trace.heard)
    except (ConflictError, NetworkError) as error:
        say(f"the run cannot begin: {error}")
        return 1
    except FgdError as error:
        say(f"the run cannot begin: {error}")
        _report_failure(control_plane, error)
        return 1
    seconds["assignment"] = time.monotonic() - began
    trace.reached("assignment")
    _stop_on_sigterm(context)
    if assignment.spec.kind != "sweep":
        # The driver of a sweep is connected to Ray itself.
        context.listen(MetricsRelay(assignment, lambda: context.num_waiting).heard)
    say(f"job {assignment.spec.name} ({assignment.spec.kind}, {assignment.job_id}), attempt {assignment.number}")
    context.emit(
        RunStarted(host=socket.gethostname(), pid=os.getpid(), python=platform.python_version(), seconds=seconds)
    )
    # Loading torch keeps the interpreter so busy that the event, if still here, would arrive half a second later.
    context.flush(FIRST_WORD_TIMEOUT_S)
    trace.reached("first word")
    _run(assignment, context, trace)
    if not context.close(STOPPED_TIMEOUT_S if context.is_asked_to_stop.is_set() else LAST_WORD_TIMEOUT_S):
        say("not all events could be delivered; they lie in the job's outbox folder")
    return 0 if context.outcome is not None and context.outcome.outcome in ("succeeded", "stopped") else 1


def _begin() -> tuple[ControlPlane, bytes]:
    """The control plane as this attempt's token opens it, and the assignment in JSON.

    Raises:
        ConflictError: this is no job of Ray's, or the control plane gives this run no token.
        NetworkError: it stays away.
        SpecError: it cannot read what this run asks.
    """
    # Out of the environment, so that no process that the run starts inherits them.
    claim, token = os.environ.pop("FGD_ATTEMPT_CLAIM", None), os.environ.pop("FGD_ATTEMPT_TOKEN", None)
    try:
        url, attempt_id = os.environ["FGD_URL"], os.environ["FGD_ATTEMPT_ID"]
        if claim is None and token is None:
            raise KeyError("FGD_ATTEMPT_CLAIM")
    except KeyError as error:
        raise ConflictError(
            "this is the entry point of Ray jobs, and the control plane starts it; to run a specification by hand, use "
            "python -m fgd_core run",
            missing_variable=str(error.args[0]),
        ) from error
    if claim is not None:
        door, secret = ControlPlane(url, attempt_id, claim), secrets.token_urlsafe(32)
        return until_answered(lambda: door.claim(secret), timeout_s=ASSIGNMENT_TIMEOUT_S, say=say)
    control_plane = ControlPlane(url, attempt_id, token or "")
    return control_plane, until_answered(control_plane.assignment, timeout_s=ASSIGNMENT_TIMEOUT_S, say=say)


def _run(assignment: Assignment, context: HttpContext, trace: StartTrace) -> None:
    try:
        began = time.monotonic()
        # Only now, for the first event must not wait the seconds that torch takes to load.
        run = runner(assignment.spec.kind)

        context.start_seconds["imports"] = time.monotonic() - began
        trace.reached("imports")
        is_ready = context.bring_checkpoints()
        trace.reached("checkpoints")
        outcome = run(assignment, context) if is_ready else RunFinished(outcome="stopped")
    except Exception as error:
        outcome = failed(error)
    if context.outcome is None:
        context.emit(outcome)


def _report_failure(control_plane: ControlPlane, error: FgdError) -> None:
    """Deliver the last word of a run that has come to no folder for its outbox."""
    outbox = Outbox(None)
    outbox.append(datetime.now(UTC), failed(error).model_dump_json())
    Sender(outbox, control_plane, heartbeat_s=5.0, on_stale=lambda: None).close(LAST_WORD_TIMEOUT_S)


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
    say("another attempt has taken over, or the job is over; this run ends")
    ending = threading.Timer(STALE_GRACE_S, os._exit, (1,))
    ending.daemon = True
    ending.start()


if __name__ == "__main__":
    sys.exit(main())
