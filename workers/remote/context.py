"""The `RunContext` of a run whose driver is another process: the driver fetches its events."""

import threading
from collections import deque
from pathlib import Path

from fgd_core.errors import StaleAttemptError
from fgd_core.spec.events import ArtifactSaved, CheckpointSaved, RunEvent, RunFinished
from fgd_core.spec.trials import Verdict
from workers.files.workspace import Workspace, fetch_unless_stopped
from workers.remote.messages import Report, Update
from workers.remote.workspace import Node, RemoteWorkspace

_MAX_EVENTS = 500
_FINISH_TIMEOUT_S = 600.0
"""How long a run that has ended waits until its files are stored."""


class RemoteContext:
    """Holds events until the driver fetches them; every method is safe for several threads.

    Args:
        workspace: describes the folder; `open` makes it.
    """

    def __init__(self, workspace: RemoteWorkspace) -> None:
        self._described = workspace
        self._changed = threading.Condition()
        self._events: deque[RunEvent] = deque()
        self._finished: RunFinished | None = None
        self._is_asked_to_stop = False
        self._is_stale = False
        self._opened: Workspace | None = None

    @property
    def job_dir(self) -> Path:
        return self._workspace.folder

    def open(self, node: Node) -> bool:
        """Fetch the checkpoints from which this run continues; returns False if it was asked to stop first.

        Args:
            node: shared by the runs of this process.
        Raises:
            FgdError: the checkpoints cannot be fetched.
        """
        self._opened = self._described.open(node, warn=self._add, on_stale=self._end_as_stale)
        return fetch_unless_stopped(self._workspace, self.should_stop)

    def emit(self, event: RunEvent) -> None:
        match event:
            case RunFinished():
                self._end(event)
            case CheckpointSaved() | ArtifactSaved():
                self._workspace.store(event, self._add)
            case _:
                self._add(event)

    def should_stop(self) -> bool:
        """
        Raises:
            StaleAttemptError: the control plane says that the attempt is over.
        """
        if self._is_stale:
            raise StaleAttemptError("another attempt has taken over, or the job is over; this run ends")
        return self._is_asked_to_stop

    def resolve_checkpoint(self, source: str) -> Path:
        return self._workspace.checkpoint(source)

    def store_file(self, path: Path) -> None:
        self._workspace.store_file(path)

    def flush_files(self) -> None:
        self._workspace.flush(self._is_over)

    def close(self) -> None:
        """Free what the run holds on its node."""
        if self._opened is not None:
            self._opened.close()

    @property
    def is_finished(self) -> bool:
        return self._finished is not None

    def set_verdict(self, verdict: Verdict) -> None:
        """Make the run save a checkpoint and end, unless the verdict is to continue."""
        with self._changed:
            self._is_asked_to_stop = self._is_asked_to_stop or verdict != "continue"
            self._changed.notify_all()

    def update(self, timeout_s: float) -> Update:
        """Wait until something happens, and return it; an empty update after the timeout."""
        with self._changed:
            self._changed.wait_for(self._has_update, timeout_s)
            events = [self._events.popleft() for _ in range(min(len(self._events), _MAX_EVENTS))]
            return Update(events) if self._events else Update(events, self._take_report(), self._finished)

    @property
    def _workspace(self) -> Workspace:
        assert self._opened is not None, "a run starts after its workspace was opened"
        return self._opened

    def _take_report(self) -> Report | None:
        """Return the report that was not fetched yet; called with the lock."""
        return None

    def _has_update(self) -> bool:
        return bool(self._events) or self._finished is not None

    def _add(self, event: RunEvent) -> None:
        with self._changed:
            self._events.append(event)
            self._changed.notify_all()

    def _end(self, event: RunFinished) -> None:
        if self._finished is not None:
            return
        if self._opened is not None:
            event = self._opened.finish(event, timeout_s=_FINISH_TIMEOUT_S, is_cut_short=lambda: False)
        with self._changed:
            self._finished = event
            self._changed.notify_all()

    def _is_over(self) -> bool:
        return self._is_asked_to_stop or self._is_stale

    def _end_as_stale(self) -> None:
        self._is_stale = True
        self.set_verdict("stop")
