"""The messages between a sweep's driver and the workers of its trials."""

from dataclasses import dataclass

from fgd_core.spec.kinds.distill import DistillSpec
from fgd_core.spec.kinds.train import TrainSpec
from workers.remote.messages import Update
from workers.remote.workspace import RemoteWorkspace


@dataclass(frozen=True)
class TrialTask:
    """Describes a segment of a trial to the worker that runs it."""

    trial: int
    segment: int
    spec: TrainSpec | DistillSpec
    workspace: RemoteWorkspace
    values: str = ""
    """The values that differ from the base, in words; the driver writes them, so that no actor loads what writes."""

    @property
    def title(self) -> str:
        """`trial 7 (alpha 0.001, temperature 0.5)`, as Ray's dashboard shows it."""
        segment = f" segment {self.segment}" if self.segment else ""
        return f"trial {self.trial}{segment} ({self.values or 'as the base'})"


@dataclass(frozen=True)
class TrialMessage:
    """Holds an update of a trial, or the death of its worker."""

    trial: int
    update: Update | None
    """None: the worker died."""
    cause: str = ""
