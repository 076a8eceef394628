"""What the library asks of whoever runs it: the command line, a Ray worker, a test."""

from pathlib import Path
from typing import Protocol, runtime_checkable

from fgd_core.spec.events import RunEvent


class RunContext(Protocol):
    @property
    def job_dir(self) -> Path:
        """Folder for checkpoints and artifacts. What lies there already is gone on from."""
        ...

    def emit(self, event: RunEvent) -> None:
        """Report a fact. Returns at once and never raises: a lost event must not end a run."""
        ...

    def should_stop(self) -> bool:
        """Whether the run has been asked to save and stop. Asked each step, and in all else that takes long (see
        `fgd_core.stopping`), so it must cost nothing.
        """
        ...

    def resolve_checkpoint(self, source: str) -> Path:
        """The local file for a path or a `job:<id>/<name>` reference.

        Raises:
            WeightsError: there is no such file.
        """
        ...


@runtime_checkable
class ChangesInFlight(Protocol):
    """A `RunContext` may be one: its run goes on from a place with other settings than those it was saved with."""

    @property
    def may_change(self) -> frozenset[str]:
        """The parts of the spec that may differ, `method` for instance."""
        ...


@runtime_checkable
class AwaitsVerdicts(Protocol):
    """A `RunContext` may be one: after each evaluation, its run waits for a decision on whether it continues."""

    def wait_for_verdict(self) -> None:
        """Block until the decision on the newest evaluation is known; `should_stop` then follows it."""
        ...
