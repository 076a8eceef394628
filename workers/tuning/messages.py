"""The messages between a sweep's driver and the workers of its trials."""

from dataclasses import dataclass, field

from fgd_core.spec.events import RunEvent, RunFinished
from fgd_core.spec.kinds.distill import DistillSpec
from fgd_core.spec.kinds.train import TrainSpec
from fgd_core.spec.results import Scores
from workers.tuning.trial_workspace import TrialWorkspace


@dataclass(frozen=True)
class TrialTask:
    """Describes a segment of a trial to the worker that runs it."""

    trial: int
    segment: int
    spec: TrainSpec | DistillSpec
    workspace: TrialWorkspace


@dataclass(frozen=True)
class Report:
    """Holds the scores of an evaluation, for which the trial awaits a verdict."""

    epoch: int
    scores: Scores
    train_s: float
    """In this segment."""


@dataclass(frozen=True)
class Update:
    """Holds what happened in a trial since its last update."""

    events: list[RunEvent] = field(default_factory=list)
    report: Report | None = None
    """The trial waits for a verdict on this report."""
    finished: RunFinished | None = None


@dataclass(frozen=True)
class TrialMessage:
    """Holds an update of a trial, or the death of its worker."""

    trial: int
    update: Update | None
    """None: the worker died."""
    cause: str = ""
