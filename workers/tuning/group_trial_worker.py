"""The worker of trials that train in several processes each: it drives a group, which Ray Train launches."""

from contextlib import suppress
from functools import partial

from fgd_core.spec.trials import Verdict
from workers.remote.messages import Update
from workers.training.ends import WorkerLostError
from workers.training.group import Group
from workers.training.task import GroupTask
from workers.tuning.messages import TrialTask
from workers.tuning.trial_context import TrialContext
from workers.tuning.trial_worker import Execute

_POLL_S = 1.0


class GroupTrialWorker:
    """Starts a group for each segment that it is given. The trials share no teacher: each worker has its own batches.

    Args:
        execute: runs a trial in each worker; by name, so that this process does not load torch.
    """

    def __init__(self, execute: Execute) -> None:
        self._execute = execute
        self._group: Group | None = None

    def begin(self, task: TrialTask) -> None:
        """Begin a segment; the one before is made to end first."""
        self.end()
        self._group = Group(
            GroupTask(
                name=task.spec.name,
                spec=task.spec,
                num_workers=task.spec.resources.workers,
                workspace=task.workspace,
                context=partial(TrialContext, task),
                execute=self._execute,
            )
        )

    def update(self, timeout_s: float) -> Update:
        """Wait for the next update of the segment; returns an empty one after the timeout.

        Raises:
            WorkerLostError: a worker of the trial died.
        """
        assert self._group is not None, "a segment begins before it is asked for updates"
        try:
            update = self._group.update(timeout_s)
        except WorkerLostError:
            self.close()
            raise
        if update.finished is not None:
            self._group.close()
            self._group = None
        return update

    def set_verdict(self, verdict: Verdict) -> None:
        """Pass on the verdict for which the trial waits; every verdict but `continue` makes it save and end."""
        if self._group is not None:
            self._group.set_verdict(verdict)

    def end(self) -> None:
        """Make the segment save a checkpoint and end, and wait until it has."""
        self.set_verdict("stop")
        with suppress(WorkerLostError):
            while self._group is not None:
                self.update(_POLL_S)

    def close(self) -> None:
        """End: the sweep is over."""
        if self._group is not None:
            self._group.kill()
            self._group = None
