"""The `RunContext` of a run on the cluster: it connects the run to its reporting and its workspace."""

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
from workers.control_plane import ControlPlane
from workers.files.folders import attempt_folder
from workers.files.node_cache import NodeCache
from workers.files.references import References
from workers.files.scratch import Scratch, remove_abandoned
from workers.files.server_files import ServerFiles
from workers.files.server_workspace import ServerWorkspace
from workers.files.shared_workspace import SharedWorkspace, local_path
from workers.files.workspace import Workspace, fetch_unless_stopped
from workers.reporting.outbox import Outbox
from workers.reporting.sender import Sender
from workers.run_log import write_event

_LAST_EVENTS_S = 1.0
"""The minimum time to send the final event, when the last files have used all of the timeout."""


class HttpContext:
    """Writes events to the outbox and to the run's log; control signals come back with the answers to batches.

    Args:
        on_stale: called once, from another thread, when the control plane says that this attempt is over. From then on
            `emit` drops events and `should_stop` raises.
        on_event: called with each event that is not dropped.
    Raises:
        StorageError: the job's folder is not a local one, or cannot be made.
    """

    def __init__(
        self,
        assignment: Assignment,
        control_plane: ControlPlane,
        *,
        on_stale: Callable[[], None] = lambda: None,
        on_event: Callable[[RunEvent], None] = lambda event: None,
    ) -> None:
        self.assignment = assignment
        self._control_plane = control_plane
        self._subscribers = [on_event]
        self._scratch: Scratch | None = None
        self.server_files: ServerFiles | None = None
        """The job's files over HTTP; None if the job has a shared folder."""
        if assignment.job_uri is None:
            self.server_files = ServerFiles(control_plane)
            self._scratch = Scratch(f"{assignment.job_id}-{assignment.number}")
            job_dir = self._scratch.folder
        else:
            job_dir = _local_folder(assignment)
        self._workspace = self._open_workspace(job_dir)
        self._outbox = Outbox(job_dir / "outbox" / f"attempt-{assignment.number}-run.jsonl")
        self.is_asked_to_stop = threading.Event()
        self.start_seconds: dict[str, float] = {}
        """Seconds of each phase of the start that only the entry point knows; reported with `device_ready`."""
        self.outcome: RunFinished | None = None
        """The run's final event, once it is emitted."""
        self._held_outcome: RunFinished | None = None
        """The final event while it waits for the files that must be stored before it."""
        self._sender = Sender(self._outbox, control_plane, heartbeat_s=assignment.heartbeat_s, on_stale=on_stale)

    @property
    def job_dir(self) -> Path:
        return self._workspace.folder

    def fetch_checkpoints(self) -> bool:
        """Fetch the checkpoints from which this attempt continues; returns False if the run was asked to stop first.

        Raises:
            FgdError: the checkpoints cannot be fetched.
        """
        if self._scratch is not None:
            remove_abandoned()
            NodeCache().prune()
        return fetch_unless_stopped(self._workspace, self.should_stop)

    def emit(self, event: RunEvent) -> None:
        if self._sender.is_stale:
            return
        if isinstance(event, DeviceReady):
            event = event.model_copy(update={"seconds": {**self.start_seconds, **event.seconds}})
        match event:
            case RunFinished():
                self.outcome = event
                if self._scratch is None:
                    self._report(event)
                else:
                    self._held_outcome = event
            case CheckpointSaved() | ArtifactSaved():
                self._workspace.store(event, self._report)
            case _:
                self._report(event)
        for on_event in self._subscribers:
            on_event(event)

    def _report(self, event: RunEvent) -> None:
        """Add an event to the outbox and the log. Safe for several threads."""
        if self._sender.is_stale:
            return
        may_drop = isinstance(event, Progress | MetricsLogged | EvaluationProgress)
        self._outbox.append(datetime.now(UTC), event.model_dump_json(), may_drop=may_drop)
        self._sender.wake()
        write_event(event)

    def subscribe(self, on_event: Callable[[RunEvent], None]) -> None:
        """Call `on_event` with each later event that is not dropped."""
        self._subscribers.append(on_event)

    @property
    def num_waiting(self) -> int:
        """The number of events that the control plane has not acknowledged yet."""
        return self._outbox.num_waiting

    def should_stop(self) -> bool:
        """
        Raises:
            StaleAttemptError: the control plane says that the attempt is over. Another attempt may already write to the
                same folder, so this run must end without a checkpoint; an error makes it do that.
        """
        if self._sender.is_stale:
            raise StaleAttemptError(
                "another attempt has taken over, or the job is over; this run ends and writes nothing more",
                attempt_id=self.assignment.attempt_id,
            )
        return self._sender.is_asked_to_stop or self.is_asked_to_stop.is_set()

    def ask_to_stop(self) -> None:
        """Make the run save and stop, as a cancellation does; for signals."""
        self.is_asked_to_stop.set()

    def store_file(self, path: Path) -> None:
        self._workspace.store_file(path)

    def flush_files(self) -> None:
        self._workspace.flush(self.should_stop)

    def resolve_checkpoint(self, source: str) -> Path:
        return self._workspace.checkpoint(source)

    def study(self, after: int) -> StudyLog:
        """Fetch this sweep's stored events whose sequence is greater than `after`.

        Raises:
            NetworkError: the control plane cannot be reached.
        """
        return self._control_plane.study(after)

    def flush(self, timeout_s: float) -> bool:
        """Wait until the control plane has all events so far; returns True if it has them."""
        return self._sender.flush(timeout_s)

    def close(self, timeout_s: float) -> bool:
        """Wait until the control plane has all files and events; returns True if it has them.

        The outcome changes to a failure if the files of the result cannot be stored.
        """
        deadline_s = time.monotonic() + timeout_s
        if self._held_outcome is not None:
            self.outcome = self._workspace.finish(
                self._held_outcome,
                timeout_s=timeout_s - _LAST_EVENTS_S,
                is_cut_short=self.is_asked_to_stop.is_set,
            )
            self._held_outcome = None
            self._report(self.outcome)
            if self.is_asked_to_stop.is_set():
                deadline_s = min(deadline_s, time.monotonic() + _LAST_EVENTS_S)
        is_delivered = self._sender.close(max(_LAST_EVENTS_S, deadline_s - time.monotonic()))
        self._workspace.close()
        if self._scratch is not None and (is_delivered or self._sender.is_stale):
            self._scratch.close()
            NodeCache().prune()
        return is_delivered

    def _open_workspace(self, job_dir: Path) -> Workspace:
        assignment = self.assignment
        confined.allow(job_dir)
        if self.server_files is None:
            return SharedWorkspace(_own_folder(job_dir, assignment.number), assignment.checkpoints)
        return ServerWorkspace(
            self.server_files,
            References(self.server_files, job_dir / "references"),
            job_dir,
            number=assignment.number,
            warn=self._report,
            on_stale=self._end_as_stale,
        )

    def _end_as_stale(self) -> None:
        # The sender is made after the workspace.
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
            "the job's folder cannot be made; check the free space, and that the folder belongs to this user",
            path=str(job_dir),
            cause=str(error),
        ) from error
