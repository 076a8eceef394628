"""The worker that runs trials inside a Ray actor."""

import threading
from collections.abc import Callable

from fgd_core.errors import FgdError
from fgd_core.spec.events import RunFinished
from fgd_core.spec.kinds.distill import DistillSpec
from fgd_core.spec.kinds.train import TrainSpec
from fgd_core.spec.results import ErrorReport
from fgd_core.spec.trials import Verdict
from fgd_core.training.context import RunContext
from workers.tuning.messages import TrialTask, Update
from workers.tuning.trial_context import Share, TrialContext
from workers.tuning.trial_workspace import Node

Execute = Callable[[TrainSpec | DistillSpec, RunContext], RunFinished]


class TrialWorker:
    """Runs one trial after the other in its own process, so that libraries are loaded once.

    `run` returns when its trial ends. Other threads call the other methods meanwhile, with the ticket of that call.
    """

    def __init__(self, execute: Execute, share: Share | None = None) -> None:
        self._execute, self._share = execute, share
        self._node = Node()
        self._changed = threading.Condition()
        self._contexts: dict[int, TrialContext] = {}

    def ready(self) -> bool:
        """Return True; the answer shows that the worker runs."""
        return True

    def run(self, ticket: int, task: TrialTask) -> None:
        """Run a trial's segment to its end."""
        context = TrialContext(task, self._share)
        with self._changed:
            self._contexts[ticket] = context
            self._changed.notify_all()
        try:
            context.emit(self._finished(task, context))
        finally:
            context.close()

    def update(self, ticket: int, timeout_s: float) -> Update:
        """Wait for the next update of a trial."""
        update = self._context(ticket).update(timeout_s)
        if update.finished is not None:
            del self._contexts[ticket]
        return update

    def set_verdict(self, ticket: int, verdict: Verdict) -> None:
        """Pass on the verdict for which a trial waits."""
        self._context(ticket).set_verdict(verdict)

    def stop(self, ticket: int) -> None:
        """Make a trial save a checkpoint and end."""
        self._context(ticket).stop()

    def close(self) -> None:
        """Free what the trials held on this node: the sweep is over."""
        if self._share is not None:
            self._share.clear()
        self._node.close()

    def _finished(self, task: TrialTask, context: TrialContext) -> RunFinished:
        try:
            if not context.open(self._node):
                return RunFinished(outcome="stopped")
        except FgdError as error:
            return RunFinished(outcome="failed", error=ErrorReport.of(error))
        return self._execute(task.spec, context)

    def _context(self, ticket: int) -> TrialContext:
        # A call may arrive before the call of `run` with its ticket.
        with self._changed:
            self._changed.wait_for(lambda: ticket in self._contexts)
            return self._contexts[ticket]
