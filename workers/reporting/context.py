"""The `RunContext` of a run on the cluster."""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from fgd_core import confined
from fgd_core.errors import StaleAttemptError, StorageError
from fgd_core.spec.attempts import Assignment
from fgd_core.spec.events import (
    ArtifactSaved,
    CheckpointSaved,
    DeviceReady,
    EvaluationProgress,
    MetricsLogged,
    Progress,
    RunEvent,
    RunFinished,
)
from fgd_core.spec.trials import StudyLog
from fgd_core.stopping import Stopped, checking_for_stop, run_in_thread
from workers.files.home import Home
from workers.files.node_cache import NodeCache
from workers.files.references import References
from workers.files.scratch import Scratch, remove_abandoned
from workers.files.server_files import ServerFiles
from workers.files.server_home import ServerHome
from workers.files.shared_home import SharedHome, local_path
from workers.folders import attempt_folder
from workers.reporting import narration
from workers.reporting.control_plane import ControlPlane
from workers.reporting.outbox import Outbox
from workers.reporting.sender import Sender

_LAST_EVENTS_S = 1.0
"""The least that the last word has for its way, when the last files took all the time there was."""


class HttpContext:
    """Events go to the outbox and onto Ray's log; control signals come back with the answers to batches.

    Args:
        on_stale: called once, from another thread, when the control plane says that this attempt is over. From then on
            `emit` keeps nothing and `should_stop` raises.
        heard: called with each event that is kept.
    Raises:
        StorageError: the job's folder is not a local one, or cannot be made.
    """

    def __init__(
        self,
        assignment: Assignment,
        control_plane: ControlPlane,
        *,
        on_stale: Callable[[], None] = lambda: None,
        heard: Callable[[RunEvent], None] = lambda event: None,
    ) -> None:
        self._assignment = assignment
        self._control_plane = control_plane
        self._listeners = [heard]
        self._scratch: Scratch | None = None
        self.server_files: ServerFiles | None = None
        """Where the job's files are reached, when no folder is shared."""
        if assignment.job_uri is None:
            self.server_files = ServerFiles(control_plane)
            self._scratch = Scratch(f"{assignment.job_id}-{assignment.number}")
            job_dir = self._scratch.folder
        else:
            job_dir = _local_folder(assignment)
        self._home = self._open_home(job_dir)
        self._outbox = Outbox(job_dir / "outbox" / f"attempt-{assignment.number}-run.jsonl")
        self.is_asked_to_stop = threading.Event()
        self.start_seconds: dict[str, float] = {}
        """What the start was made of that only the entry point knows; told with `device_ready`."""
        self.outcome: RunFinished | None = None
        """The run's last word, once it is said."""
        self._untold: RunFinished | None = None
        """The same, while it waits for the files that must be kept before it."""
        self._sender = Sender(self._outbox, control_plane, heartbeat_s=assignment.heartbeat_s, on_stale=on_stale)

    @property
    def job_dir(self) -> Path:
        return self._home.folder

    def bring_checkpoints(self) -> bool:
        """Have at hand what this attempt goes on from; whether it is, or the run was asked to stop first.

        Raises:
            FgdError: it cannot be done.
        """
        if self._scratch is not None:
            remove_abandoned()
            NodeCache().prune()
        with checking_for_stop(self.should_stop):
            try:
                # A control plane that hangs in the midst of a file lets nothing in there ask.
                return run_in_thread(lambda: self._home.bring(self.should_stop))
            except Stopped:
                return False

    def emit(self, event: RunEvent) -> None:
        if self._sender.is_stale:
            return
        if isinstance(event, DeviceReady):
            event = event.model_copy(update={"seconds": {**self.start_seconds, **event.seconds}})
        match event:
            case RunFinished():
                self.outcome = event
                if self._scratch is None:
                    self._tell(event)
                else:
                    self._untold = event
            case CheckpointSaved() | ArtifactSaved():
                self._home.keep(event, self._tell)
            case _:
                self._tell(event)
        for heard in self._listeners:
            heard(event)

    def _tell(self, event: RunEvent) -> None:
        """From any thread."""
        if self._sender.is_stale:
            return
        may_drop = isinstance(event, Progress | MetricsLogged | EvaluationProgress)
        self._outbox.append(datetime.now(UTC), event.model_dump_json(), may_drop=may_drop)
        self._sender.wake()
        narration.tell(event)

    def listen(self, heard: Callable[[RunEvent], None]) -> None:
        """Have `heard` called with each event that is kept, from now on."""
        self._listeners.append(heard)

    @property
    def num_waiting(self) -> int:
        """Events that the control plane has not confirmed yet."""
        return self._outbox.num_waiting

    def should_stop(self) -> bool:
        """
        Raises:
            StaleAttemptError: the attempt is over for the control plane. Another one may be writing to the same folder
                by now, so the run must end without a checkpoint, which is what an error makes it do.
        """
        if self._sender.is_stale:
            raise StaleAttemptError(
                "another attempt has taken over, or the job is over; this run ends and writes nothing more",
                attempt_id=self._assignment.attempt_id,
            )
        return self._sender.is_asked_to_stop or self.is_asked_to_stop.is_set()

    def ask_to_stop(self) -> None:
        """As a cancellation would; for signals."""
        self.is_asked_to_stop.set()

    def resolve_checkpoint(self, source: str) -> Path:
        return self._home.checkpoint(source)

    def study(self, after: int) -> StudyLog:
        """What is stored of this sweep behind an event of this sequence.

        Raises:
            NetworkError: the control plane is away.
        """
        return self._control_plane.study(after)

    def flush(self, timeout_s: float) -> bool:
        """Wait until every event so far has arrived; whether it has."""
        return self._sender.flush(timeout_s)

    def close(self, timeout_s: float) -> bool:
        """Wait until all files and events have arrived; whether they have. A control plane that is away is waited for.

        The outcome may become another one, where the files that it rests on cannot be kept.
        """
        deadline_s = time.monotonic() + timeout_s
        if self._untold is not None:
            patience_s = timeout_s - _LAST_EVENTS_S
            self.outcome = self._home.finish(
                self._untold, timeout_s=patience_s, is_cut_short=self.is_asked_to_stop.is_set
            )
            self._untold = None
            self._tell(self.outcome)
            if self.is_asked_to_stop.is_set():
                deadline_s = min(deadline_s, time.monotonic() + _LAST_EVENTS_S)
        is_delivered = self._sender.close(max(_LAST_EVENTS_S, deadline_s - time.monotonic()))
        self._home.close()
        if self._scratch is not None and (is_delivered or self._sender.is_stale):
            self._scratch.close()
            NodeCache().prune()
        return is_delivered

    def _open_home(self, job_dir: Path) -> Home:
        assignment = self._assignment
        confined.allow(job_dir)
        if self.server_files is None:
            return SharedHome(_own_folder(job_dir, assignment.number), assignment.checkpoints)
        return ServerHome(
            self.server_files,
            References(self.server_files, job_dir / "references"),
            job_dir,
            number=assignment.number,
            tell=self._tell,
            on_stale=self._end_as_stale,
        )

    def _end_as_stale(self) -> None:
        self._sender.end_as_stale()


def _local_folder(assignment: Assignment) -> Path:
    folder = local_path(assignment.job_uri or "")
    if folder is None:
        raise StorageError("a run writes to local folders only; set a file:// storage", job_uri=assignment.job_uri)
    return folder


def _own_folder(job_dir: Path, number: int) -> Path:
    try:
        return attempt_folder(job_dir, number)
    except OSError as error:
        raise StorageError(
            "the job's folder cannot be made; is there space, and does it belong to this user?",
            path=str(job_dir),
            cause=str(error),
        ) from error
