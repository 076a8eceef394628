"""What a run, or a trial of a sweep, asks of the place where it works."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from fgd_core import confined
from fgd_core.errors import WeightsError
from fgd_core.spec.events import ArtifactSaved, CheckpointSaved, RunFinished

FileSaved = CheckpointSaved | ArtifactSaved
"""The events that name a file."""
_Over = Callable[[], bool]


class Home(Protocol):
    @property
    def folder(self) -> Path:
        """For checkpoints and artifacts."""
        ...

    def bring(self, is_over: _Over) -> bool:
        """Put there the checkpoints that are gone on from; whether that was done before `is_over` said so.

        Raises:
            FgdError: it cannot be done.
        """
        ...

    def keep(self, event: FileSaved, then: Callable[[FileSaved], None]) -> None:
        """Let a file outlive this node, then tell of it as it is kept. Returns at once."""
        ...

    def keep_file(self, path: Path) -> None:
        """The same for one that no event names."""
        ...

    def settle(self, is_over: _Over) -> None:
        """Wait until all that was saved so far is kept."""
        ...

    def finish(self, event: RunFinished, *, timeout_s: float, is_cut_short: _Over) -> RunFinished:
        """The run's last word as it is to be told, once all of its files are kept.

        Args:
            is_cut_short: whether the process is about to be ended.
        """
        ...

    def checkpoint(self, source: str) -> Path:
        """The local file for a path or a `job:<id>/<name>` reference.

        Raises:
            WeightsError: there is none.
        """
        ...

    def close(self) -> None: ...


def allow_job(source: str, path: Path) -> None:
    """Let this process read the folder of the job that `source` refers to and that left `path` there."""
    job_id = source.removeprefix("job:").partition("/")[0]
    confined.allow(next((folder for folder in path.parents if folder.name == job_id), path.parent))


def local_checkpoint(source: str, path: Path) -> Path:
    """
    Raises:
        WeightsError: there is no such file.
    """
    if not path.is_file():
        raise WeightsError(
            "there is no such checkpoint on this machine; check the path, and that this node shares its folder",
            source=source,
            path=str(path),
        )
    return path
