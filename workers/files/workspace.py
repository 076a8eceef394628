"""The interface of a workspace: the folder in which a run, or a trial of a sweep, works."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from fgd_core import confined
from fgd_core.errors import WeightsError
from fgd_core.spec.events import ArtifactSaved, CheckpointSaved, RunFinished
from fgd_core.stopping import Stopped, checking_for_stop, run_in_thread

FileSaved = CheckpointSaved | ArtifactSaved
"""The events that name a file."""
IsOver = Callable[[], bool]
"""Returns True when the run must not wait any longer."""


class Workspace(Protocol):
    """Provides the checkpoints from which a run continues, and stores the files that must outlive its node.

    A workspace in which nothing waits to be stored need not override `store_file`, `flush` and `close`.
    """

    folder: Path
    """The folder for checkpoints and artifacts."""

    def fetch_checkpoints(self, is_over: IsOver) -> bool:
        """Copy the checkpoints from which the run continues into the folder; returns False if `is_over` came first.

        Raises:
            FgdError: the checkpoints cannot be fetched.
        """

    def store(self, event: FileSaved, report: Callable[[FileSaved], None]) -> None:
        """Store the event's file so that it outlives this node, then report the event with the file's new URI.

        Returns at once.
        """

    def store_file(self, path: Path) -> None:
        """Store a file that no event names. Returns at once."""
        return

    def flush(self, is_over: IsOver) -> None:
        """Wait until all files so far are stored."""
        return

    def finish(self, event: RunFinished, *, timeout_s: float, is_cut_short: IsOver) -> RunFinished:
        """Wait until all files are stored, and return the final event: a failure if the result's files are lost.

        Args:
            is_cut_short: True if the process is about to be killed.
        """

    def checkpoint(self, source: str) -> Path:
        """Return the local file of a path or a `job:<id>/<name>` reference.

        Raises:
            WeightsError: the file does not exist.
        """

    def close(self) -> None:
        """Free what the workspace holds on this node."""
        return


def allow_job(source: str, path: Path) -> None:
    """Let this process read the folder of the job to which `source` refers and which left `path` there."""
    job_id = source.removeprefix("job:").partition("/")[0]
    confined.allow(next((folder for folder in path.parents if folder.name == job_id), path.parent))


def local_checkpoint(source: str, path: Path) -> Path:
    """Return `path` if it is a file.

    Raises:
        WeightsError: the file does not exist.
    """
    if not path.is_file():
        raise WeightsError(
            "there is no such checkpoint on this machine; check the path, and that this node shares its folder",
            source=source,
            path=str(path),
        )
    return path


def fetch_unless_stopped(workspace: Workspace, should_stop: IsOver) -> bool:
    """Fetch the checkpoints from which a run continues; returns False if it was asked to stop first.

    Raises:
        FgdError: the checkpoints cannot be fetched.
    """
    with checking_for_stop(should_stop):
        try:
            # In a thread: a control plane that hangs in the middle of a file blocks the fetch.
            return run_in_thread(lambda: workspace.fetch_checkpoints(should_stop))
        except Stopped:
            return False
