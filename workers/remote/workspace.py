"""The workspace of a run in another process than its driver: the driver describes it, any node opens it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fgd_core import confined
from fgd_core.spec.checkpoint_references import checkpoint_sources
from fgd_core.spec.events import Warned
from fgd_core.spec.jobs import JobSpec
from fgd_core.spec.pretrained import is_torchvision_name
from workers.files.node_cache import NodeCache
from workers.files.references import References
from workers.files.scratch import Scratch, remove_abandoned
from workers.files.server_files import ServerFiles
from workers.files.server_workspace import ServerWorkspace
from workers.files.shared_workspace import SharedWorkspace
from workers.files.workspace import Workspace, allow_job


class Node:
    """Holds what the runs of one process share on its node; made when the first run needs it."""

    def __init__(self) -> None:
        self._scratch: Scratch | None = None
        self._references: References | None = None

    def open(self, files: ServerFiles, name: str) -> tuple[Path, References]:
        """Return a scratch folder and the checkpoints of other jobs.

        Raises:
            StorageError: the node has no space.
        """
        if self._scratch is None or self._references is None:
            remove_abandoned()
            NodeCache().prune()
            self._scratch = Scratch(name)
            self._references = References(files, self._scratch.folder / "references")
        return self._scratch.folder, self._references

    def close(self) -> None:
        """Remove the scratch folder."""
        if self._scratch is not None:
            self._scratch.close()
            self._scratch = self._references = None
            NodeCache().prune()


class RemoteWorkspace(Protocol):
    """Describes a workspace; it can be pickled."""

    def open(self, node: Node, *, warn: Callable[[Warned], None], on_stale: Callable[[], None]) -> Workspace:
        """Make the workspace on this node.

        Raises:
            StorageError: the node has no space.
        """


@dataclass(frozen=True)
class SharedRemoteWorkspace:
    """Describes a workspace in a folder that all nodes share."""

    folder: Path
    """Contains the checkpoints from which the run continues."""
    checkpoints: Mapping[str, Path]
    """The local file of every path or `job:…` reference in the spec."""

    def open(self, node: Node, *, warn: Callable[[Warned], None], on_stale: Callable[[], None]) -> Workspace:
        confined.allow(self.folder)
        return _ResolvedWorkspace(self.folder, self.checkpoints)


def shared(folder: Path, spec: JobSpec, resolve: Callable[[str], Path]) -> SharedRemoteWorkspace:
    """Describe a workspace in a shared folder.

    Args:
        resolve: finds the local file of a path or a `job:…` reference.
    Raises:
        WeightsError: a checkpoint that the spec names does not exist.
    """
    # A torchvision name is not a file.
    names = [source for _, source in checkpoint_sources(spec) if not is_torchvision_name(source)]
    return SharedRemoteWorkspace(folder, {source: resolve(source) for source in names})


@dataclass(frozen=True)
class ServerRemoteWorkspace:
    """Describes a workspace whose files go through the control plane."""

    files: ServerFiles
    job_id: str
    number: int
    """Of the attempt."""
    within: str = ""
    """The part of the attempt's folder to work in, as for `ServerWorkspace`."""
    goes_on_from: str | None = None
    """As for `ServerWorkspace`."""

    def open(self, node: Node, *, warn: Callable[[Warned], None], on_stale: Callable[[], None]) -> Workspace:
        root, references = node.open(self.files, f"{self.job_id}-{self.number}-remote")
        confined.allow(root)
        return ServerWorkspace(
            self.files,
            references,
            root,
            number=self.number,
            within=self.within,
            goes_on_from=self.goes_on_from,
            warn=warn,
            on_stale=on_stale,
        )


class _ResolvedWorkspace(SharedWorkspace):
    """Reads checkpoints whose files the driver has already found."""

    def __init__(self, folder: Path, checkpoints: Mapping[str, Path]) -> None:
        super().__init__(folder, {})
        self._paths = checkpoints

    def checkpoint(self, source: str) -> Path:
        path = self._paths[source]
        if source.startswith("job:"):
            allow_job(source, path)
        return path
