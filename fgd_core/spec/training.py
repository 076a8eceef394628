"""How a detector is optimised."""

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from fgd_core.spec.base import Command


class Sgd(Command):
    """Stochastic gradient descent with momentum, as all published recipes use it."""

    type: Literal["sgd"] = "sgd"
    learning_rate: float = Field(default=0.01, gt=0)
    """For the batch size given; the published 0.01 is for 16 images a step."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """How much of the last step goes into the next."""
    weight_decay: float = Field(default=1e-4, ge=0)
    """Pull of every weight towards zero, joined to the gradient."""


class AdamW(Command):
    """Adam with decoupled weight decay (arXiv:1711.05101): forgiving where a network starts from scratch."""

    type: Literal["adamw"] = "adamw"
    learning_rate: float = Field(default=1e-3, gt=0)
    """For the batch size given."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Pull of every weight towards zero, beside the gradient."""


OptimizerSpec: TypeAlias = Annotated[Sgd | AdamW, Field(discriminator="type")]


class StepSchedule(Command):
    """Multiply the learning rate by `factor` at each milestone."""

    type: Literal["step"] = "step"
    milestones: tuple[float, ...] = (2 / 3, 11 / 12)
    """As fractions of the training: 2/3 and 11/12 are the published 8 and 11 of 12 epochs."""
    factor: float = Field(default=0.1, gt=0, lt=1)
    """What remains of the learning rate at each."""


class CosineSchedule(Command):
    """Fall along half a cosine to `final_fraction` of the learning rate."""

    type: Literal["cosine"] = "cosine"
    final_fraction: float = Field(default=0.01, ge=0, lt=1)
    """Of the learning rate, at the end."""


ScheduleSpec: TypeAlias = Annotated[StepSchedule | CosineSchedule, Field(discriminator="type")]


class TrainingSpec(Command):
    epochs: int = Field(default=12, ge=1)
    """Passes over the training images; 12 and 24 are the published 1x and 2x."""
    batch_size: int = Field(default=16, ge=1)
    """Images a step."""
    optimizer: OptimizerSpec = Sgd()
    """What turns gradients into steps."""
    schedule: ScheduleSpec = StepSchedule()
    """How the learning rate falls."""
    warmup_steps: int = Field(default=500, ge=0)
    """Linear warm-up from a thousandth of the learning rate; cut to a tenth of the training where that is shorter."""
    clip_norm: float | None = Field(default=35.0, gt=0)
    """L2 norm that gradients are clipped to; the distillation's own parameters count too."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """`auto` is bfloat16 autocast on a GPU that has it and float32 elsewhere."""
    evaluate_every: int = Field(default=1, ge=1)
    """Epochs between evaluations on the validation split; the last epoch is always evaluated."""
    checkpoint_every_s: float = Field(default=60.0, ge=0)
    """Seconds between checkpoints inside an epoch; each epoch's end writes one as well."""
    loader_workers: int = Field(default=0, ge=0)
    """Processes that read images; 0 reads them in the run itself."""
