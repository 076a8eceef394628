"""The state of a training besides weights and optimiser."""

import math
from dataclasses import dataclass, field, fields
from typing import Self

from fgd_core.detectors.weights.checkpoint import Content
from fgd_core.spec.results import EndReason
from fgd_core.training.identity import RunIdentity


@dataclass
class TrainingState:
    """Says where a training is and what it has found so far; checkpoints contain all of it.

    A field without a value in a checkpoint of an older version has its default.
    """

    epoch: int = 0
    """Number of epochs that are done."""
    step_in_epoch: int = 0
    best_ap: float | None = None
    best_epoch: int | None = None
    aps: list[float] = field(default_factory=list)
    """Of all evaluations; 0 where there was no score."""
    train_s: float = 0.0
    """Seconds in training steps, over all attempts."""
    evaluation_s: float = 0.0
    """Duration of the newest evaluation."""
    awaits_evaluation: bool = False
    """Whether the newest epoch is trained and its evaluation is due but not done."""
    ended_by: EndReason | None = None
    """Why the training ended before its last epoch."""
    wall_s: float = 0.0
    """Seconds of everything, over all attempts: steps, evaluations, waiting for data."""
    gpu_s: float = 0.0
    """The same seconds times the GPUs of all workers."""
    epoch_began_s: float = 0.0
    """`wall_s` at the beginning of the current epoch."""
    next_s: float = math.inf
    """Seconds that the evaluation of the newest epoch, the next epoch and its evaluation would take; infinite before an
    epoch is done, and in checkpoints of older versions."""
    skipped_steps: int = 0
    """Steps whose loss or gradient was not finite, in the whole training."""
    skipped_in_row: int = 0
    skipped_in_epoch: int = 0
    overflows_in_epoch: int = 0
    """Steps whose gradient was too large for float16, and which have no gradient norm."""
    is_advised: bool = False
    """Whether the run has advised another scale of the distillation."""
    epoch_sums: dict[str, float] = field(default_factory=dict)
    epoch_train_s: float = 0.0
    course: RunIdentity = field(default_factory=dict)
    """Everything that the state depends on; see `training.identity`. Checkpoints keep the first name of this field."""

    @classmethod
    def restored(cls, saved: Content, course: RunIdentity) -> Self:
        """Return the state that a checkpoint holds, without the fields that only older versions have.

        Args:
            course: of the run that resumes: the training may have been extended, or changed on purpose.
        """
        known = {each.name for each in fields(cls)}
        return cls(**{**{name: value for name, value in saved.items() if name in known}, "course": course})
