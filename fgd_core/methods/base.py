"""Defines the interface of all distillation methods: what a method is given in a step, and what it returns."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, Protocol, TypeAlias

import torch
from torch import Tensor, nn

from fgd_core.data.targets import Targets
from fgd_core.outputs import DenseHead, DenseOutputs, FeatureLevel, RegionHead, RegionOutputs
from fgd_core.spec.plans import PlannedLevel


class Side(NamedTuple):
    """Describes the student or the teacher, as far as it is known before the first step."""

    levels: Sequence[FeatureLevel]
    """Fine to coarse, as the network's own `features` returns them."""
    num_classes: int
    """Its own; a teacher may have more than the data."""
    input_scale: float = 1.0
    """Size of its images relative to the student's."""
    shares_classes: bool = True
    """Whether the class scores of both can be compared: views show the data's classes in their order or, of dense
    detectors, only the classes that both know."""
    has_regions: bool = False
    """Whether its head processes given regions."""
    vector_size: int = 0
    """Length of the last hidden vector of its head, of a region or of a location."""
    stages: Sequence[FeatureLevel] = ()
    """The maps of the backbone below the levels, fine to coarse."""


class Moment(NamedTuple):
    """The place in the training. It is a function of the number of steps, so a resumed run needs no state."""

    step: int = 0
    """Number of steps that are done."""
    steps: int = 1
    """Number of steps of the whole training."""
    epochs: int = 1
    """Number of epochs of the whole training."""

    @property
    def done(self) -> float:
        """Fraction of the training that is done, in [0, 1)."""
        return self.step / self.steps

    @property
    def epoch(self) -> float:
        """Number of epochs that are done, with the fraction of the current one."""
        return self.done * self.epochs

    def is_before(self, epoch: int) -> bool:
        """Return whether fewer than so many epochs are done."""
        # In whole numbers: `self.epoch` is a rounded fraction and may fall below the end of an epoch.
        return self.step * self.epochs < epoch * self.steps


_START = Moment()


Outputs: TypeAlias = DenseOutputs | RegionOutputs


class View:
    """Shows one network on one picture. Each part is computed when a method first reads it, and only once.

    A student's parts have gradients. A teacher's have none, but gradients flow through its heads to their inputs.

    Args:
        maps: computes the maps of the pyramid and, behind them, those of the backbone, if a method reads them.
        outputs: computes the outputs of the heads from the maps of the pyramid, each (N, C, H, W).
        num_levels: of the pyramid; None: all maps are the pyramid's.
        dense_head: the head, if it predicts at every location and can be cut in two.
        region_head: the head that processes given regions.
    """

    def __init__(
        self,
        maps: Callable[[], Sequence[Tensor]],
        outputs: Callable[[Sequence[Tensor]], Outputs] | None = None,
        *,
        num_levels: int | None = None,
        dense_head: DenseHead | None = None,
        region_head: RegionHead | None = None,
    ) -> None:
        self._compute, self._outputs, self.num_levels = maps, outputs, num_levels
        self.dense_head, self.region_head = dense_head, region_head

    @cached_property
    def maps(self) -> Sequence[Tensor]:
        """The maps of the pyramid, then those of the backbone, if there are any; each (N, C, H, W)."""
        return self._compute()

    @property
    def pyramid(self) -> Sequence[Tensor]:
        """The maps of the pyramid from fine to coarse, each (N, C, H, W)."""
        return self.maps[: self.num_levels]

    @property
    def stages(self) -> Sequence[Tensor]:
        """The maps of the backbone from fine to coarse, each (N, C, H, W)."""
        assert self.num_levels is not None, "this view shows a pyramid only"
        return self.maps[self.num_levels :]

    @cached_property
    def outputs(self) -> Outputs:
        """The outputs of the heads, in the network's own pixels, with the data's classes: of a student with its
        assignment or sample of regions, of a teacher without."""
        assert self._outputs is not None, "this view shows maps only"
        return self._outputs(self.pyramid)


@dataclass(frozen=True, eq=False)
class Lesson:
    """Holds what a method may use in one step."""

    student: View
    teacher: View
    targets: Targets
    """The objects, in pixels of the student's resized image."""
    input_size: tuple[int, int]
    """(height, width) in pixels of the student's padded batch."""
    moment: Moment = _START
    others: Mapping[str, "Lesson"] = field(default_factory=dict)
    """The same lesson on another picture of the same images, by the name of the picture."""


class Terms(NamedTuple):
    """Holds the parts of a loss, for reports, and the weight of each."""

    parts: Mapping[str, Tensor]
    """Name to scalar (), unweighted, with gradients to the student and to the method's own parameters."""
    weights: Mapping[str, float]
    """The weight of each part."""

    @property
    def total(self) -> Tensor:
        """The weighted sum of the parts, scalar ()."""
        return self.scaled(1.0)

    def scaled(self, scale: float | Tensor) -> Tensor:
        """Return the weighted sum of the parts with a factor (), on all weights, scalar ()."""
        first, *rest = (scale * self.weights[name] * value for name, value in self.parts.items())
        return sum(rest, start=first)


def resting(method: nn.Module, name: str) -> Mapping[str, Terms]:
    """Return a loss of zero, as place and term `name`, that gives the method's parameters a gradient of zero.

    For steps in which a part of a method does not run; empty if the part has no parameters.
    """
    own = [each.flatten() for each in method.parameters()]
    return {name: Terms({name: 0 * torch.cat(own).sum()}, {name: 1.0})} if own else {}


class Method(nn.Module):
    """Computes the loss of a method. Its parameters train with the student and are discarded afterwards."""

    def forward(self, lesson: Lesson) -> Mapping[str, Terms]:
        """Compute the loss: by the name of a level of the student, or of another place such as `regions`."""
        raise NotImplementedError

    def compile_losses(self) -> None:
        """Compile the losses that run faster then on an accelerator; none by default."""

    def plan(self) -> Sequence[PlannedLevel]:
        """Return which levels are compared and which are left out; empty if the method compares no maps."""
        return ()

    def compares(self) -> Sequence[str]:
        """Return what is compared besides maps, in words."""
        return ()

    def advice(self, teacher: View) -> Sequence[str]:
        """Return advice about settings that do not suit the teacher, in words; empty if all do."""
        return ()


# `Any`: each factory takes the spec of its own method, and the table of methods brings the two together.
MethodFactory: TypeAlias = Callable[[Any, Side, Side], Method]
"""(the method's spec, the student, the teacher) -> the method. Raises SpecError if the pair does not suit it."""


class LevelPair(NamedTuple):
    """Describes a student's and a teacher's level that are compared; their maps are resampled to one grid before."""

    position: int
    """0 is the finest compared pair."""
    num_pairs: int
    name: str
    """Of the student's level."""
    stride: float
    """Pixels of the student's image per cell of the compared maps."""
    teacher_level: int
    """Index of the teacher's level among all of its levels."""
    student_channels: int
    teacher_channels: int


class LevelLoss(Protocol):
    """Computes the loss of one pair of levels. An implementation is an `nn.Module`."""

    def __call__(self, student: Tensor, teacher: Tensor, lesson: Lesson) -> Terms:
        """Compare one level of two pyramids.

        Args:
            student: (N, C_student, H, W).
            teacher: (N, C_teacher, H, W), without gradient.
            lesson: the objects, the sizes and the moment; its maps are not resampled.
        """
        ...


def adapter(student_channels: int, teacher_channels: int) -> nn.Module:
    """Build a trained 1x1 convolution of the student's channels, or the identity if the channels are equal."""
    if student_channels == teacher_channels:
        return nn.Identity()
    return nn.Conv2d(student_channels, teacher_channels, 1)
