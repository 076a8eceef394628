"""Training: optimizer, schedule of the learning rate, batch size, checkpoints."""

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from fgd_core.spec.base import Command


class Sgd(Command):
    """Stochastic gradient descent with momentum; all published recipes use it."""

    type: Literal["sgd"] = "sgd"
    learning_rate: float = Field(default=0.01, gt=0)
    """Learning rate for the given batch size. The published 0.01 is for 16 images per step."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Fraction of the previous step that is added to the next."""
    weight_decay: float = Field(default=1e-4, ge=0)
    """L2 penalty, added to the gradient."""


class AdamW(Command):
    """Adam with decoupled weight decay (arXiv:1711.05101): robust without pretrained weights."""

    type: Literal["adamw"] = "adamw"
    learning_rate: float = Field(default=1e-3, gt=0)
    """Learning rate for the given batch size."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Decay of every weight per step, separate from the gradient."""


OptimizerSpec: TypeAlias = Annotated[Sgd | AdamW, Field(discriminator="type")]


class StepSchedule(Command):
    """Multiply the learning rate by `factor` at each milestone."""

    type: Literal["step"] = "step"
    milestones: tuple[float, ...] = (2 / 3, 11 / 12)
    """Fractions of the training. 2/3 and 11/12 are the published epochs 8 and 11 of 12."""
    factor: float = Field(default=0.1, gt=0, lt=1)
    """Factor on the learning rate at each milestone."""


class CosineSchedule(Command):
    """Reduce the learning rate along half a cosine, to `final_fraction` of it."""

    type: Literal["cosine"] = "cosine"
    final_fraction: float = Field(default=0.01, ge=0, lt=1)
    """Fraction of the learning rate that is left at the end."""


ScheduleSpec: TypeAlias = Annotated[StepSchedule | CosineSchedule, Field(discriminator="type")]


class TrainingSpec(Command):
    """How a detector is trained."""

    epochs: int = Field(default=12, ge=1)
    """Passes over the training images. The published schedules 1x and 2x have 12 and 24."""
    batch_size: int = Field(default=16, ge=1)
    """Images per step, of all workers together."""
    optimizer: OptimizerSpec = Sgd()
    """The optimizer and its settings."""
    schedule: ScheduleSpec = StepSchedule()
    """How the learning rate decreases during the training."""
    warmup_steps: int = Field(default=500, ge=0)
    """Steps of linear warm-up from a thousandth of the learning rate; at most a tenth of the training."""
    clip_norm: float | None = Field(default=35.0, gt=0)
    """Largest L2 norm of the gradients, with those of the distillation's own parameters; larger ones are scaled down.
    None: no clipping."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """`auto`: bfloat16 autocast on a GPU that supports it, otherwise float32."""
    evaluate_every: int = Field(default=1, ge=1)
    """Epochs between evaluations on the validation split; the last epoch is always evaluated."""
    checkpoint_every_s: float = Field(default=60.0, ge=0)
    """Seconds between checkpoints during an epoch. A checkpoint is also written after each epoch."""
    loader_workers: int = Field(default=0, ge=0)
    """Processes that read images; with 0 the run itself reads them."""
