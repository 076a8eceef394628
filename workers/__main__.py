"""The entry point of every Ray job: `python -m workers KIND ATTEMPT`; the arguments are only for Ray's dashboard.

The environment identifies the attempt: FGD_URL, FGD_ATTEMPT_ID and FGD_ATTEMPT_CLAIM, a code that the run exchanges for
the attempt's token. A control plane of the previous version passes the token itself in FGD_ATTEMPT_TOKEN. The exit code
is 0 when the run has succeeded or was asked to stop, and 1 otherwise.
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
from fgd_core.provenance import record_provenance
from fgd_core.spec.events import RunFinished, RunStarted
from fgd_core.spec.results import ErrorReport
from workers.control_plane import ControlPlane, read_assignment, retry_until_reachable
from workers.metrics.relay import MetricsRelay
from workers.reporting.outbox import Outbox
from workers.reporting.sender import Sender
from workers.run_context import HttpContext
from workers.run_log import write_line
from workers.runs import runner, runs_here
from workers.tracing import StartTrace, process_age_s

FIRST_EVENT_TIMEOUT_S = 0.5
"""How long the run waits until its first event has arrived; this usually takes some hundredths of a second."""
FINAL_EVENT_TIMEOUT_S = 600.0
"""How long the run waits at its end for a control plane that is away: once back, it must learn how the run ended."""
STOPPED_TIMEOUT_S = 3.0
"""The same for a run that Ray is stopping: Ray soon kills the run, and `ray stop` waits for it."""
TRACE_TIMEOUT_S = 2.0
"""How long the run waits at its end until the trace collector has its spans."""
STALE_GRACE_S = 10.0
"""How long a stale run has to end before its process is killed."""


def main() -> int:
    """Run this process's attempt and return the exit code."""
    seconds = {"process_start": process_age_s()}
    trace = StartTrace(os.environ, seconds["process_start"])
    trace.reached("process start")
    try:
        return _report_and_run(trace, seconds)
    finally:
        trace.close(TRACE_TIMEOUT_S)


def _report_and_run(trace: StartTrace, seconds: dict[str, float]) -> int:
    began_s = time.monotonic()
    try:
        control_plane, content = _begin()
    except (ConflictError, NetworkError, SpecError) as error:
        write_line(f"the run cannot begin: {error}")
        return 1
    try:
        assignment = read_assignment(content)
        trace.describe(assignment)
        context = HttpContext(assignment, control_plane, on_stale=_end_soon, on_event=trace.observe)
    except FgdError as error:
        write_line(f"the run cannot begin: {error}")
        if not isinstance(error, ConflictError | NetworkError):
            _report_failure(control_plane, error)
        return 1
    seconds["assignment"] = time.monotonic() - began_s
    trace.reached("assignment")
    _stop_on_sigterm(context)
    _announce(context, seconds)
    trace.reached("first event")
    _run(context, trace)
    if not context.close(STOPPED_TIMEOUT_S if context.is_asked_to_stop.is_set() else FINAL_EVENT_TIMEOUT_S):
        write_line("not all events could be delivered; they are in the job's outbox folder")
    return 0 if context.outcome is not None and context.outcome.outcome in ("succeeded", "stopped") else 1


def _announce(context: HttpContext, seconds: dict[str, float]) -> None:
    assignment = context.assignment
    if assignment.spec.kind != "sweep":
        # The driver of a sweep is connected to Ray itself.
        context.subscribe(MetricsRelay(assignment, lambda: context.num_waiting).observe)
    write_line(f"job {assignment.spec.name} ({assignment.spec.kind}, {assignment.job_id}), attempt {assignment.number}")
    context.emit(
        RunStarted(host=socket.gethostname(), pid=os.getpid(), python=platform.python_version(), seconds=seconds)
    )
    # Loading torch keeps the interpreter busy: an event that is not sent before arrives half a second later.
    context.flush(FIRST_EVENT_TIMEOUT_S)


def _begin() -> tuple[ControlPlane, bytes]:
    """Connect to the control plane; returns it with this attempt's token, and the assignment in JSON.

    Raises:
        ConflictError: this process is no Ray job, or the control plane refuses its token.
        NetworkError: the control plane could not be reached for 10 minutes.
        SpecError: the control plane cannot read the request.
    """
    # Removed from the environment, so that the run's child processes do not inherit them.
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
        unclaimed, secret = ControlPlane(url, attempt_id, claim), secrets.token_urlsafe(32)
        return retry_until_reachable(lambda: unclaimed.claim(secret))
    control_plane = ControlPlane(url, attempt_id, token or "")
    return control_plane, retry_until_reachable(control_plane.assignment)


def _run(context: HttpContext, trace: StartTrace) -> None:
    try:
        for recorded in record_provenance(context.job_dir):
            context.emit(recorded)
        began_s = time.monotonic()
        # Only now: the first event must not wait the seconds that torch takes to load.
        spec = context.assignment.spec
        run = runner(spec)

        context.start_seconds["imports"] = time.monotonic() - began_s
        trace.reached("imports")
        is_ready = not runs_here(spec) or context.fetch_checkpoints()
        trace.reached("checkpoints")
        outcome = run(spec, context) if is_ready else RunFinished(outcome="stopped")
    except Exception as error:
        # Every error of a run becomes its final event: without that event the control plane sees a lost run.
        outcome = RunFinished(outcome="failed", error=ErrorReport.of(error))
    if context.outcome is None:
        context.emit(outcome)


def _report_failure(control_plane: ControlPlane, error: FgdError) -> None:
    """Deliver the final event of a run that has no folder for its outbox."""
    outbox = Outbox(None)
    finished = RunFinished(outcome="failed", error=ErrorReport.of(error))
    outbox.append(datetime.now(UTC), finished.model_dump_json())
    Sender(outbox, control_plane, heartbeat_s=5.0, on_stale=lambda: None).close(FINAL_EVENT_TIMEOUT_S)


def _stop_on_sigterm(context: HttpContext) -> None:
    """Save and stop on SIGTERM. Ray sends it to all processes of a run, and SIGKILL some seconds later."""
    run_pid = os.getpid()

    def on_sigterm(number: int, frame: FrameType | None) -> None:
        # The processes that read images inherit this handler; they must work until the run has saved.
        if os.getpid() == run_pid:
            context.ask_to_stop()

    signal.signal(signal.SIGTERM, on_sigterm)


def _end_soon() -> None:
    """End this stale run after a grace period: it must not write at the same time as the new attempt."""
    write_line("another attempt has taken over, or the job is over; this run ends")
    timer = threading.Timer(STALE_GRACE_S, os._exit, (1,))
    timer.daemon = True
    timer.start()


if __name__ == "__main__":
    sys.exit(main())
