"""A folder that all nodes and the control plane share: what is saved there is kept."""

from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from fgd_core.errors import WeightsError
from fgd_core.spec.events import RunFinished
from workers.files.home import FileSaved, allow_job, local_checkpoint


class SharedHome:
    """
    Args:
        folder: with the checkpoints that are gone on from, as `workers.folders` makes it.
        checkpoints: URI for every `job:…` reference.
    """

    def __init__(self, folder: Path, checkpoints: Mapping[str, str]) -> None:
        self.folder = folder
        self._checkpoints = checkpoints

    def bring(self, is_over: Callable[[], bool]) -> bool:
        return True

    def keep(self, event: FileSaved, then: Callable[[FileSaved], None]) -> None:
        then(event)

    def keep_file(self, path: Path) -> None:
        return

    def settle(self, is_over: Callable[[], bool]) -> None:
        return

    def finish(self, event: RunFinished, *, timeout_s: float, is_cut_short: Callable[[], bool]) -> RunFinished:
        return event

    def checkpoint(self, source: str) -> Path:
        if not source.startswith("job:"):
            return local_checkpoint(source, Path(source).expanduser())
        uri = self._checkpoints.get(source)
        if uri is None:
            raise WeightsError(
                "the job that is referred to has left no such checkpoint; name one that has succeeded", source=source
            )
        path = local_path(uri)
        if path is None:
            raise WeightsError(
                "this checkpoint lies in a storage that this run cannot read; use a folder that all nodes share",
                source=source,
                uri=uri,
            )
        allow_job(source, path)
        return local_checkpoint(source, path)

    def close(self) -> None:
        return


def local_path(uri: str) -> Path | None:
    parts = urlsplit(uri)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None
