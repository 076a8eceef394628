"""Where a segment of a trial works: named by the driver, opened in the actor, which may be on any node."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fgd_core import confined
from fgd_core.spec.events import Warned
from workers.files.home import Home, allow_job
from workers.files.node_cache import NodeCache
from workers.files.references import References
from workers.files.scratch import Scratch, remove_abandoned
from workers.files.server_files import ServerFiles
from workers.files.server_home import ServerHome
from workers.files.shared_home import SharedHome


class Node:
    """What the trials of one process have on its node in common, made when the first of them needs it."""

    def __init__(self) -> None:
        self._scratch: Scratch | None = None
        self._references: References | None = None

    def open(self, files: ServerFiles, name: str) -> tuple[Path, References]:
        """A scratch folder, and the checkpoints of other jobs.

        Raises:
            StorageError: the node has no room.
        """
        if self._scratch is None or self._references is None:
            remove_abandoned()
            NodeCache().prune()
            self._scratch = Scratch(name)
            self._references = References(files, self._scratch.folder / "references")
        return self._scratch.folder, self._references

    def close(self) -> None:
        if self._scratch is not None:
            self._scratch.close()
            self._scratch = self._references = None
            NodeCache().prune()


class TrialHome(Protocol):
    """Can be pickled."""

    def open(self, node: Node, *, tell: Callable[[Warned], None], on_stale: Callable[[], None]) -> Home:
        """
        Raises:
            StorageError: the node has no room.
        """
        ...


@dataclass(frozen=True)
class SharedTrialHome:
    folder: Path
    """Shared by all nodes, with the checkpoints that are gone on from."""
    checkpoints: Mapping[str, Path]
    """The local file for every path or `job:…` reference that the spec names."""

    def open(self, node: Node, *, tell: Callable[[Warned], None], on_stale: Callable[[], None]) -> Home:
        confined.allow(self.folder)
        return _SharedFolder(self.folder, self.checkpoints)


@dataclass(frozen=True)
class ServerTrialHome:
    files: ServerFiles
    job_id: str
    number: int
    """Of the attempt."""
    trial: int
    segment: int
    goes_on_from: tuple[int, int] | None

    def open(self, node: Node, *, tell: Callable[[Warned], None], on_stale: Callable[[], None]) -> Home:
        root, references = node.open(self.files, f"{self.job_id}-{self.number}-trials")
        source = self.goes_on_from
        confined.allow(root)
        return ServerHome(
            self.files,
            references,
            root,
            number=self.number,
            within=segment_path(self.trial, self.segment),
            goes_on_from=segment_path(*source) if source is not None else None,
            tell=tell,
            on_stale=on_stale,
        )


class _SharedFolder(SharedHome):
    def __init__(self, folder: Path, checkpoints: Mapping[str, Path]) -> None:
        super().__init__(folder, {})
        self._paths = checkpoints

    def checkpoint(self, source: str) -> Path:
        # The driver has looked whether it is there.
        path = self._paths[source]
        if source.startswith("job:"):
            allow_job(source, path)
        return path


def segment_path(trial: int, segment: int) -> str:
    """Within an attempt's folder."""
    return f"trials/{trial}/{segment}"
