"""A workspace in a folder that all nodes and the control plane share: a file that is saved there is stored."""

from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from fgd_core.errors import WeightsError
from fgd_core.spec.events import RunFinished
from workers.files.workspace import FileSaved, IsOver, Workspace, allow_job, local_checkpoint


class SharedWorkspace(Workspace):
    """Works in a shared folder, so it has nothing to fetch and nothing to send.

    Args:
        folder: contains the checkpoints from which the run continues, as `workers.files.folders` makes it.
        checkpoints: the URI of every `job:…` reference.
    """

    def __init__(self, folder: Path, checkpoints: Mapping[str, str]) -> None:
        self.folder = folder
        self._checkpoints = checkpoints

    def fetch_checkpoints(self, is_over: IsOver) -> bool:
        return True

    def store(self, event: FileSaved, report: Callable[[FileSaved], None]) -> None:
        report(event)

    def finish(self, event: RunFinished, *, timeout_s: float, is_cut_short: IsOver) -> RunFinished:
        return event

    def checkpoint(self, source: str) -> Path:
        if not source.startswith("job:"):
            return local_checkpoint(source, Path(source).expanduser())
        uri = self._checkpoints.get(source)
        if uri is None:
            raise WeightsError("the job has left no such checkpoint; refer to a job that has succeeded", source=source)
        path = local_path(uri)
        if path is None:
            raise WeightsError(
                "this run cannot read the storage of this checkpoint; use a folder that all nodes share",
                source=source,
                uri=uri,
            )
        allow_job(source, path)
        return local_checkpoint(source, path)


def local_path(uri: str) -> Path | None:
    """Return the path of a file:// URI; None for any other URI."""
    parts = urlsplit(uri)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None
