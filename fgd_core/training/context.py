"""What the library needs from its caller: the command line, a Ray worker or a test."""

from pathlib import Path
from typing import Protocol, runtime_checkable

from fgd_core.spec.events import RunEvent


class RunContext(Protocol):
    """Connects a run to its caller: a folder, events, control signals and checkpoints."""

    @property
    def job_dir(self) -> Path:
        """Folder for checkpoints and artifacts. A run resumes from a checkpoint that is already there."""
        ...

    def emit(self, event: RunEvent) -> None:
        """Report an event. Returns at once and never raises, because a lost event must not end a run."""
        ...

    def should_stop(self) -> bool:
        """Return whether the run should save a checkpoint and stop.

        The run calls it at each step and during all other long work (see `fgd_core.stopping`), so it must be fast.
        """
        ...

    def resolve_checkpoint(self, source: str) -> Path:
        """Return the local file for a path or a reference `job:<id>/<name>`.

        Raises:
            WeightsError: there is no such file.
        """
        ...


@runtime_checkable
class ChangesInFlight(Protocol):
    """A `RunContext` may implement this: its run resumes with other settings than those of the checkpoint."""

    @property
    def may_change(self) -> frozenset[str]:
        """The parts of the spec that may differ, for example `method`."""
        ...


@runtime_checkable
class AwaitsVerdicts(Protocol):
    """A `RunContext` may implement this: after each evaluation, its run waits for a decision on whether it
    continues."""

    def wait_for_verdict(self) -> None:
        """Block until the decision on the newest evaluation is known; `should_stop` then follows it."""
        ...


@runtime_checkable
class StoresFiles(Protocol):
    """A `RunContext` may implement this: files that no event names outlive the machine only if they are stored."""

    def store_file(self, path: Path) -> None:
        """Store a file inside `job_dir`. Returns at once."""
        ...

    def flush_files(self) -> None:
        """Wait until all files so far are stored, or until the run should stop."""
        ...
