"""The `RunContext` of a trial: an ordinary run that waits for a verdict after each evaluation."""

import json
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from fgd_core.errors import StaleAttemptError
from fgd_core.spec.events import (
    ArtifactSaved,
    CheckpointSaved,
    EpochFinished,
    Evaluated,
    Resumed,
    RunEvent,
    RunFinished,
)
from fgd_core.spec.results import Scores
from fgd_core.spec.trials import Verdict
from fgd_core.stopping import Stopped, checking_for_stop, run_in_thread
from workers.files.folders import CHECKPOINTS, REPORT
from workers.files.workspace import Workspace
from workers.tuning.messages import Report, TrialTask, Update
from workers.tuning.trial_workspace import Node

_MAX_EVENTS = 500
_FINISH_TIMEOUT_S = 600.0
"""How long a trial that has ended waits until its files are stored."""


class OpenSharing(Protocol):
    """A `TeacherSharing` of `fgd_core` that must be closed; this module must not load torch to name it."""

    def close(self) -> None: ...


class Share(Protocol):
    """Opens what the trials of a node share: their teacher."""

    def __call__(self, trial: int, emit: Callable[[RunEvent], None]) -> OpenSharing:
        """Open the sharing for one trial."""

    def clear(self) -> None:
        """Free this node's memory."""


class TrialContext:
    """Holds events until the driver fetches them, and blocks the training until the driver sends a verdict.

    Args:
        share: shares the teacher with other trials; None shares nothing.
    """

    def __init__(self, task: TrialTask, share: Share | None = None) -> None:
        self._task = task
        self._changed = threading.Condition()
        self._events: deque[RunEvent] = deque()
        self._report: Report | None = None
        self._is_report_sent = False
        self._finished: RunFinished | None = None
        self._evaluated: Report | None = None
        """The newest evaluation, until the trial asks for a verdict on it."""
        self._train_s = 0.0
        self._is_asked_to_stop = False
        self._is_stale = False
        self._opened: Workspace | None = None
        self.teacher_sharing = share(task.trial, self.emit) if share is not None else None

    @property
    def job_dir(self) -> Path:
        return self._workspace.folder

    @property
    def may_change(self) -> frozenset[str]:
        """Population-based training continues from another trial's checkpoint with other settings of the method."""
        return frozenset({"method"}) if self._task.segment else frozenset()

    def open(self, node: Node) -> bool:
        """Fetch the checkpoints from which this segment continues; returns False if it was asked to stop first.

        Args:
            node: shared by the trials of this process.
        Raises:
            FgdError: the checkpoints cannot be fetched.
        """
        self._opened = self._task.workspace.open(node, warn=self._add, on_stale=self._end_as_stale)
        with checking_for_stop(self.should_stop):
            try:
                # In a thread: a control plane that hangs in the middle of a file blocks the fetch.
                return run_in_thread(lambda: self._workspace.fetch_checkpoints(self.should_stop))
            except Stopped:
                return False

    @property
    def _workspace(self) -> Workspace:
        assert self._opened is not None, "a trial starts after its workspace was opened"
        return self._opened

    def emit(self, event: RunEvent) -> None:
        match event:
            case EpochFinished() if event.images_per_s > 0:
                images = event.steps / event.epochs * self._task.spec.training.batch_size
                self._train_s += images / event.images_per_s
            case Evaluated(epoch=int(epoch)):
                self._evaluated = Report(epoch, event.scores, self._train_s)
                self._save_report(self._evaluated)
            case Resumed():
                # The report of this epoch may not have reached the driver, because the driver may have died. A run that
                # repeats the evaluation reports it again anyway.
                self._evaluated = None if event.awaits_evaluation else self._saved_report(event.epoch)
            case RunFinished():
                self._end(event)
                return
        if isinstance(event, CheckpointSaved | ArtifactSaved):
            self._workspace.store(event, self._add)
        else:
            self._add(event)

    def wait_for_verdict(self) -> None:
        """Report the newest evaluation and block until the driver sends its verdict; `should_stop` then follows it."""
        report, self._evaluated = self._evaluated, None
        if report is None:
            return
        # First the files: a trial that pauses or stops here has its checkpoint stored, even if this node dies.
        self._workspace.flush(self._is_over)
        if self._is_asked_to_stop:
            return
        with self._changed:
            self._report, self._is_report_sent = report, False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._report is None)

    def should_stop(self) -> bool:
        """
        Raises:
            StaleAttemptError: the control plane says that the sweep's attempt is over.
        """
        if self._is_stale:
            raise StaleAttemptError(
                "another attempt of the sweep has taken over, or the sweep is over; this trial ends"
            )
        return self._is_asked_to_stop

    def resolve_checkpoint(self, source: str) -> Path:
        return self._workspace.checkpoint(source)

    def close(self) -> None:
        """Free what the trial holds on its node."""
        if self.teacher_sharing is not None:
            self.teacher_sharing.close()
        if self._opened is not None:
            self._opened.close()

    def stop(self) -> None:
        """Make the run save a checkpoint and end."""
        self.set_verdict("stop")

    def set_verdict(self, verdict: Verdict) -> None:
        """Unblock the run, and make it end unless the verdict is to continue."""
        with self._changed:
            self._is_asked_to_stop = self._is_asked_to_stop or verdict != "continue"
            self._report = None
            self._changed.notify_all()

    def update(self, timeout_s: float) -> Update:
        """Wait until something happens, and return it; an empty update after the timeout."""
        with self._changed:
            self._changed.wait_for(self._has_update, timeout_s)
            events = [self._events.popleft() for _ in range(min(len(self._events), _MAX_EVENTS))]
            if self._events:
                return Update(events)
            report = None if self._is_report_sent else self._report
            self._is_report_sent = self._is_report_sent or report is not None
            return Update(events, report, self._finished)

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
        self.stop()

    def _has_update(self) -> bool:
        has_report = self._report is not None and not self._is_report_sent
        return bool(self._events) or has_report or self._finished is not None

    def _save_report(self, report: Report) -> None:
        path = self.job_dir / CHECKPOINTS / REPORT
        path.parent.mkdir(parents=True, exist_ok=True)
        incoming = path.with_suffix(".incoming")
        incoming.write_text(json.dumps({"epoch": report.epoch, "scores": report.scores.model_dump(mode="json")}))
        incoming.replace(path)
        self._workspace.store_file(path)

    def _saved_report(self, epoch: int) -> Report | None:
        """Read the report of this epoch, which this process or an earlier one has saved; None if there is none."""
        try:
            saved = json.loads((self.job_dir / CHECKPOINTS / REPORT).read_text())
        except (OSError, ValueError):
            return None
        return Report(epoch, Scores.model_validate(saved["scores"]), 0.0) if saved["epoch"] == epoch else None
