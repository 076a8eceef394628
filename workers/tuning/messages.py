"""The messages between a sweep's driver and the workers of its trials."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import JsonValue

from fgd_core.spec.event_text import values_text
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
    values: Mapping[str, JsonValue] = field(default_factory=dict)
    """By field path: the values that differ from the base."""

    @property
    def title(self) -> str:
        """`trial 7 (alpha 0.001, temperature 0.5)`, as Ray's dashboard shows it."""
        segment = f" segment {self.segment}" if self.segment else ""
        return f"trial {self.trial}{segment} ({values_text(self.values, ', ') or 'as the base'})"


@dataclass(frozen=True)
class TrialMessage:
    """Holds an update of a trial, or the death of its worker."""

    trial: int
    update: Update | None
    """None: the worker died."""
    cause: str = ""
