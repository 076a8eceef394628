"""The worker that runs trials, one after the other, in a thread of its process."""

import threading
from collections.abc import Callable
from typing import Protocol

from fgd_core.errors import FgdError
from fgd_core.spec.events import RunFinished
from fgd_core.spec.kinds.distill import DistillSpec
from fgd_core.spec.kinds.train import TrainSpec
from fgd_core.spec.results import ErrorReport
from fgd_core.spec.trials import Verdict
from fgd_core.training.context import RunContext
from workers.remote.messages import Update
from workers.remote.workspace import Node
from workers.tuning.messages import TrialTask
from workers.tuning.trial_context import Share, TrialContext

Execute = Callable[[TrainSpec | DistillSpec, RunContext], RunFinished]


class Worker(Protocol):
    """Runs the segments of trials, one after the other."""

    def begin(self, task: TrialTask) -> None:
        """Begin a segment; the one before is made to end first."""

    def update(self, timeout_s: float) -> Update:
        """Wait for the next update of the segment; returns an empty one after the timeout."""

    def set_verdict(self, verdict: Verdict) -> None:
        """Pass on the verdict for which the trial waits; every verdict but `continue` makes it save and end."""

    def end(self) -> None:
        """Make the segment save a checkpoint and end, and wait until it has."""

    def close(self) -> None:
        """End, and free what the trials held on this node: the sweep is over."""


class TrialWorker:
    """Runs the segments that it is given, so that libraries are loaded once.

    Args:
        execute: runs a trial.
        share: opens the teacher that trials share.
    """

    def __init__(self, execute: Execute, share: Share | None = None) -> None:
        self._execute, self._share = execute, share
        self._node = Node()
        self._context: TrialContext | None = None
        self._thread: threading.Thread | None = None

    def begin(self, task: TrialTask) -> None:
        """Begin a segment; the one before is made to end first."""
        self.end()
        self._context = TrialContext(task, self._share)
        self._thread = threading.Thread(target=self._run, args=(task, self._context), name=f"trial {task.trial}")
        self._thread.start()

    def update(self, timeout_s: float) -> Update:
        """Wait for the next update of the segment; returns an empty one after the timeout."""
        assert self._context is not None, "a segment begins before it is asked for updates"
        return self._context.update(timeout_s)

    def set_verdict(self, verdict: Verdict) -> None:
        """Pass on the verdict for which the trial waits; every verdict but `continue` makes it save and end."""
        if self._context is not None:
            self._context.set_verdict(verdict)

    def end(self) -> None:
        """Make the segment save a checkpoint and end, and wait until it has."""
        self.set_verdict("stop")
        if self._thread is not None:
            self._thread.join()

    def close(self) -> None:
        """End, and free what the trials of this process held on this node; other processes may still run trials."""
        self.end()
        if self._share is not None:
            self._share.clear()
        self._node.close()

    def _run(self, task: TrialTask, context: TrialContext) -> None:
        try:
            context.emit(self._finished(task, context))
        finally:
            context.close()

    def _finished(self, task: TrialTask, context: TrialContext) -> RunFinished:
        try:
            if not context.open(self._node):
                return RunFinished(outcome="stopped")
        except FgdError as error:
            return RunFinished(outcome="failed", error=ErrorReport.of(error))
        return self._execute(task.spec, context)
