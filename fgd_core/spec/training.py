"""Training: optimizer, schedule of the learning rate, batch size, averages of weights, end, checkpoints."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, NamedTuple, Self, TypeAlias

from pydantic import Field, model_validator

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


class PublishedSchedule(Command):
    """A published schedule by its name, which also sets `training.epochs`: 1x is 12 epochs with milestones after 8 and
    11, 2x is 24 with 16 and 22, 3x is 36 with 27 and 33.

    The job has the epochs and the schedule of type `step` that the name stands for. Source: mmdetection's schedules.
    """

    type: Literal["1x", "2x", "3x"]


ScheduleSpec: TypeAlias = Annotated[StepSchedule | CosineSchedule | PublishedSchedule, Field(discriminator="type")]


class _Course(NamedTuple):
    """What the name of a schedule stands for."""

    epochs: int
    drops: tuple[int, int]
    """The epochs after which the learning rate falls."""

    @property
    def schedule(self) -> StepSchedule:
        """The same schedule of type `step`."""
        first, second = self.drops
        return StepSchedule(milestones=(first / self.epochs, second / self.epochs))


_COURSES: Mapping[str, _Course] = {"1x": _Course(12, (8, 11)), "2x": _Course(24, (16, 22)), "3x": _Course(36, (27, 33))}


class Ema(Command):
    """An exponential moving average of weights and of the statistics of batch normalisation, updated in each step."""

    decay: float = Field(default=0.9998, gt=0, lt=1)
    """The share of the average that a step keeps, after the warm-up."""
    warmup_steps: int = Field(default=2000, ge=0)
    """So that the average forgets the initial weights: in step n, the share is decay * (1 - exp(-n / warmup_steps))."""


class EarlyStop(Command):
    """Ends the training when evaluations no longer improve."""

    patience: int = Field(default=5, ge=1)
    """Evaluations in a row without a gain, after which the training ends."""
    min_gain: float = Field(default=0.0, ge=0, le=1)
    """By how much the AP, from 0 to 1, must exceed that of the last gain to count as a gain."""


class TimeBudget(Command):
    """The longest duration of the training, over all attempts of the job.

    The training ends after the evaluation of an epoch if the next epoch and its evaluation would exceed the budget. It
    trains at least one epoch in any case.
    """

    wall_h: float | None = Field(default=None, gt=0)
    """Hours of training, evaluation and waiting for data."""
    gpu_h: float | None = Field(default=None, gt=0)
    """The same hours times the GPUs of all workers."""


def sum_of_budgets(budgets: Sequence[TimeBudget | None]) -> TimeBudget | None:
    """Return the budget of several trainings together, which has a limit where each of them has this limit."""
    each = [budget or TimeBudget() for budget in budgets]
    wall_h, gpu_h = _sum([one.wall_h for one in each]), _sum([one.gpu_h for one in each])
    return None if wall_h is None and gpu_h is None else TimeBudget(wall_h=wall_h, gpu_h=gpu_h)


def _sum(hours: Sequence[float | None]) -> float | None:
    known = [each for each in hours if each is not None]
    return sum(known) if len(known) == len(hours) else None


class TrainingSpec(Command):
    """How a detector is trained."""

    epochs: int = Field(default=12, ge=1)
    """Passes over the training images. The published schedules 1x and 2x have 12 and 24."""
    batch_size: int = Field(default=16, ge=1)
    """Images per step, of all workers together."""
    accumulate: int = Field(default=1, ge=1)
    """Parts of equal size in which a step processes its images, one after another, to need less memory. The gradient is
    the mean over the parts. `batch_size` stays the whole batch; each worker's share must be a multiple of this."""
    optimizer: OptimizerSpec = Sgd()
    """The optimizer and its settings."""
    schedule: ScheduleSpec = StepSchedule()
    """How the learning rate decreases during the training. `{type: 2x}` also sets `epochs`."""
    learning_rate_for: int | None = Field(default=None, ge=1)
    """The batch size that `optimizer.learning_rate` is for: the rate is multiplied by batch_size / learning_rate_for
    (linear scaling, arXiv:1706.02677). None: the rate is for `batch_size`."""
    backbone_rate: float = Field(default=1.0, gt=0)
    """Factor on the learning rate of the backbone, for example 0.1 to change pretrained weights less."""
    no_decay_on: tuple[Literal["norms", "biases"], ...] = ()
    """Parameters without weight decay: the scales and shifts of normalisation layers, and the biases of others."""
    warmup_steps: int = Field(default=500, ge=0)
    """Steps of linear warm-up from a thousandth of the learning rate; at most a tenth of the training."""
    clip_norm: float | None = Field(default=35.0, gt=0)
    """Largest L2 norm of the gradients, with those of the distillation's own parameters; larger ones are scaled down.
    None: no clipping."""
    skip_bad_steps: int = Field(default=0, ge=0)
    """Steps in a row that may have a loss or gradient that is not finite. Such a step changes no weights, and is
    reported and counted; one more ends the training with the error `non_finite_loss`."""
    ema: Ema | None = None
    """An average of the weights that is evaluated and kept in place of the weights of the last step. None: no
    average."""
    average_last: int | None = Field(default=None, ge=2)
    """Number of evaluated epochs at the end, including the last one, whose weights are averaged after the training. The
    mean is evaluated, and is the best checkpoint if its AP is the highest. None: no mean."""
    early_stop: EarlyStop | None = None
    """When the training ends before its last epoch. None: never."""
    budget: TimeBudget | None = None
    """The longest duration of the training. None: no limit."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Type of the forward passes by autocast. `auto`: bfloat16 on a GPU that supports it, otherwise float32. `float16`
    scales the loss so that small gradients do not vanish; it needs a GPU."""
    compile: bool = False
    """Whether `torch.compile` compiles the student's backbone and pyramid, and on a GPU also the teacher's and the sums
    of FGD. The first steps then take minutes longer, and each new image size may compile again; results differ by
    rounding."""
    evaluate_every: int = Field(default=1, ge=1)
    """Epochs between evaluations on the validation split; the last epoch is always evaluated."""
    evaluate_beside: bool | None = None
    """Whether an epoch is evaluated while the next one trains, with a copy of its weights and with the same result. An
    evaluation still comes first where something waits for its score: after the last epoch, with `early_stop`, in a
    sweep; and with several workers, or where the GPU has no memory left. Default: with a GPU and at least 4 CPUs."""
    checkpoint_every_s: float = Field(default=60.0, ge=0)
    """Seconds between checkpoints during an epoch. A checkpoint is also written after each epoch."""
    loader_workers: int | None = Field(default=None, ge=0)
    """Processes that read images; with 0 the run itself reads them. Default: with a GPU, one for each CPU of the worker
    but one, and at least one; without a GPU, 0. The number changes no result."""

    @model_validator(mode="before")
    @classmethod
    def _expand_the_named_schedule(cls, data: object) -> object:
        """Replace the name of a schedule by its epochs and milestones, so that nothing else has to know the name."""
        if not isinstance(data, dict):
            return data
        schedule = data.get("schedule")
        name = schedule.get("type") if isinstance(schedule, dict) else getattr(schedule, "type", None)
        course = _COURSES.get(str(name))
        if course is None:
            return data
        epochs = data.get("epochs", course.epochs)
        if epochs != course.epochs:
            raise ValueError(
                f"schedule {name} has {course.epochs} epochs, but epochs is {epochs}; leave out epochs, or use a "
                "schedule of type step"
            )
        return {**data, "epochs": course.epochs, "schedule": course.schedule}

    @model_validator(mode="after")
    def _parts_are_equal(self) -> Self:
        if self.batch_size % self.accumulate:
            raise ValueError(
                f"a batch of {self.batch_size} images has no {self.accumulate} equal parts; change batch_size, or "
                "accumulate to one of its divisors"
            )
        return self

    @model_validator(mode="after")
    def _averages_suit(self) -> Self:
        if self.average_last is None:
            return self
        for name in ("ema", "early_stop"):
            if getattr(self, name) is not None:
                reason = "averages already" if name == "ema" else "leaves the last epoch open"
                raise ValueError(f"average_last does not go with {name}, which {reason}; leave out one of them")
        num_evaluations = -(-self.epochs // self.evaluate_every)
        if self.average_last > num_evaluations:
            raise ValueError(
                f"average_last is {self.average_last}, but the training has {num_evaluations} evaluations; lower it, "
                "or lower evaluate_every"
            )
        return self
