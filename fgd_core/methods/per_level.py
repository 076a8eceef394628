"""Runs a loss on each pair of levels of two pyramids: all that a method needs which compares maps level by level."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple, TypeAlias, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import grid_sample

from fgd_core.methods.base import Lesson, LevelLoss, LevelPair, Method, MethodFactory, Side, Terms, View
from fgd_core.methods.levels import Pair, match_levels, plan_levels
from fgd_core.spec.methods import AnyMethod
from fgd_core.spec.plans import PlannedLevel

# `Any`: each builder takes the spec of its own method, and the table of methods brings the two together.
LevelBuilder: TypeAlias = Callable[[Any, LevelPair], nn.Module]
"""(the method's spec, a pair of levels) -> a `LevelLoss`."""
Pairing: TypeAlias = Callable[[Any, Side, Side], Sequence[Pair]]
"""(the method's spec, the student, the teacher) -> the levels that are compared, fine to coarse."""
Network: TypeAlias = Literal["pyramid", "stages"]
"""Whose maps are compared: the pyramid's, or the backbone's below it."""
Advise: TypeAlias = Callable[[Any, Mapping[str, Tensor]], str | None]
"""(the method's spec, the teacher's maps by the name of the student's level) -> advice; None if the settings suit."""


def by_stride(_: object, student: Side, teacher: Side) -> Sequence[Pair]:
    """Pair the levels whose cells have about the same size; see `match_levels`."""
    return match_levels(student.levels, teacher.levels, teacher.input_scale)


def by_stride_with_derived(_: object, student: Side, teacher: Side) -> Sequence[Pair]:
    """Pair the levels as `by_stride`, and also those that only subsample another level."""
    return match_levels(student.levels, teacher.levels, teacher.input_scale, derived=True)


def per_level(
    build: LevelBuilder,
    *,
    pairing: Pairing = by_stride,
    advise: Advise | None = None,
    kind: "type[PerLevel] | None" = None,
    network: Network = "pyramid",
) -> MethodFactory:
    """Make a method of a loss between two maps.

    Args:
        build: builds the loss of one pair of levels.
        pairing: chooses the pairs.
        advise: looks at the teacher's maps before the first step.
        kind: the class of the method; None: `PerLevel`.
        network: whose maps are compared.
    """

    def make(method: AnyMethod, student: Side, teacher: Side) -> PerLevel:
        if network == "stages":
            student, teacher = (side._replace(levels=side.stages) for side in (student, teacher))
        pairs = pairing(method, student, teacher)
        advice = None if advise is None else partial(advise, method)
        return (kind or PerLevel)(student, teacher, pairs, partial(build, method), advice, network=network)

    return make


class Compared(NamedTuple):
    """Holds what is compared of one pair of levels."""

    name: str
    """Of the student's level."""
    loss: LevelLoss
    student: Tensor
    """(N, C_student, H, W)"""
    teacher: Tensor
    """(N, C_teacher, H, W)"""


class PerLevel(Method):
    """Computes one loss for each pair of levels; its submodules are the losses, from `0` on.

    Args:
        build: builds the loss of a pair, a `LevelLoss`.
        advise: looks at the teacher's maps by the name of the student's level; None gives no advice.
        network: whose maps the levels are.
    """

    def __init__(
        self,
        student: Side,
        teacher: Side,
        pairs: Sequence[Pair],
        build: Callable[[LevelPair], nn.Module],
        advise: Callable[[Mapping[str, Tensor]], str | None] | None,
        *,
        network: Network = "pyramid",
    ) -> None:
        super().__init__()
        self._pairs, self._advise, self._network = pairs, advise, network
        self._planned = plan_levels(student.levels, teacher.levels, teacher.input_scale, self._pairs)
        self.level_names = [student.levels[pair.student].name for pair in self._pairs]
        for index, pair in enumerate(self._pairs):
            ours, theirs = student.levels[pair.student], teacher.levels[pair.teacher]
            grid = theirs.stride / teacher.input_scale if pair.resizes_student else float(ours.stride)
            described = LevelPair(
                index, len(self._pairs), ours.name, grid, pair.teacher, ours.channels, theirs.channels
            )
            self.add_module(str(index), build(described))

    def forward(self, lesson: Lesson) -> Mapping[str, Terms]:
        """Compute the loss of each pair, by the name of the student's level."""
        return {each.name: each.loss(each.student, each.teacher, lesson) for each in self.compared(lesson)}

    def compared(self, lesson: Lesson) -> Iterator[Compared]:
        """Yield each pair with its loss and its two maps on one grid."""
        ours, theirs = self._maps(lesson.student), self._maps(lesson.teacher)
        for name, pair, loss in zip(self.level_names, self._pairs, self.children(), strict=True):
            student, teacher = ours[pair.student], theirs[pair.teacher]
            if pair.resizes_student:
                student = resample(student, 1 / pair.cells_per_cell, teacher)
            else:
                teacher = resample(teacher, pair.cells_per_cell, student)
            yield Compared(name, cast(LevelLoss, loss), student, teacher)

    def plan(self) -> Sequence[PlannedLevel]:
        """Return every level of both pyramids, and whether it is distilled."""
        return self._planned

    def advice(self, teacher: View) -> Sequence[str]:
        """Return advice about settings that do not suit the teacher's maps."""
        if self._advise is None:
            return ()
        theirs = self._maps(teacher)
        maps = {name: theirs[pair.teacher] for name, pair in zip(self.level_names, self._pairs, strict=True)}
        found = self._advise(maps)
        return () if found is None else (found,)

    def _maps(self, view: View) -> Sequence[Tensor]:
        """Return the maps of a view, each (N, C, H, W)."""
        return view.pyramid if self._network == "pyramid" else view.stages


def resample(features: Tensor, cells_per_cell: float, like: Tensor) -> Tensor:
    """Resample a feature map on the grid of another, with bilinear interpolation where the cells differ.

    Both maps start at the image's top left corner. Their right and lower borders may be at different pixels, so the map
    is not stretched from border to border; outside of it, its border cells are repeated.

    Args:
        features: (N, C, H, W).
        cells_per_cell: side of a cell of `like`, in cells of `features`.
        like: (N, C', H', W'); only its shape is used.
    Returns:
        (N, C, H', W')
    """
    if cells_per_cell == 1 and features.shape[2:] == like.shape[2:]:
        return features
    # Centres of the new cells in coordinates of the map, from -1 at one border to 1 at the other.
    y, x = (
        (torch.arange(wanted, device=features.device, dtype=torch.float32) + 0.5) * cells_per_cell / there * 2 - 1
        for wanted, there in zip(like.shape[2:], features.shape[2:], strict=True)
    )
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).expand(len(features), -1, -1, -1)
    return grid_sample(features.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)
