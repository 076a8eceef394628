"""What the workers of a group are asked to do together."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fgd_core.spec.events import RunFinished
from fgd_core.spec.jobs import JobSpec
from fgd_core.training.context import RunContext
from workers.remote.context import RemoteContext
from workers.remote.workspace import RemoteWorkspace

Execute = Callable[[Any, RunContext], RunFinished]
"""Runs a spec of the kinds that it knows."""


@dataclass(frozen=True)
class GroupTask:
    """Describes a run that several workers carry out together; it can be pickled."""

    name: str
    """Of the run; Ray's dashboard shows it."""
    spec: JobSpec
    num_workers: int
    workspace: RemoteWorkspace
    context: Callable[[], RemoteContext]
    """Makes the context of rank 0, which alone reports events and saves files."""
    execute: Execute
    """Runs the spec in each worker, inside their process group; by name, so that the driver does not load torch."""
