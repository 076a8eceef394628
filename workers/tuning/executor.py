"""The interface between a sweep's driver and the place where its trials run."""

from collections.abc import Sequence
from typing import Protocol

from fgd_core.spec.trials import Verdict
from workers.tuning.messages import TrialMessage, TrialTask


class Executor(Protocol):
    """Runs trials and passes messages between them and the driver."""

    def num_free(self) -> int:
        """Return the number of trials that could start now."""

    def start(self, task: TrialTask, name: str) -> None:
        """Start a trial's segment."""

    def messages(self, timeout_s: float) -> Sequence[TrialMessage]:
        """Wait until trials send messages, and return them in the order of the trials' numbers."""

    def send_verdict(self, trial: int, verdict: Verdict) -> None:
        """Send the verdict for which a trial waits."""

    def stop(self, trial: int) -> None:
        """Ask a trial to save a checkpoint and end."""

    def close(self) -> None:
        """End all workers."""
