"""A loss that is composed of parts: weights of cells and channels, a transform, a distance; `spec.methods.Composed`.

With reduction `sum` and distance `l2`, for example, the loss of a level is the sum of M A (f(S) - f(T))^2 / N, where M
are the weights of the cells, A is the teacher's attention and f the transform.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from fgd_core.methods.base import Lesson, LevelPair, Method, Side, Terms, adapter
from fgd_core.methods.fgd import ContextBlock
from fgd_core.methods.levels import Pair, match_levels
from fgd_core.methods.parts.attention import attention, temperature_of
from fgd_core.methods.parts.comparable import check_same_classes, check_same_locations
from fgd_core.methods.parts.forms import DISTANCES, Temperature, Total, Weights, each_standardised, transformed
from fgd_core.methods.parts.objects import box_mask, gaussian_mask, stacked
from fgd_core.methods.parts.precision import in_float32
from fgd_core.methods.parts.scale_masks import scale_masks
from fgd_core.methods.parts.statistics import standardised
from fgd_core.methods.per_level import per_level
from fgd_core.outputs import DenseOutputs
from fgd_core.roi_align import pool_from_map
from fgd_core.spec.methods.composed import Composed

_CUT_OUT = 7
"""Side of an object that is cut out of a map, in cells: that of region heads."""


class ComposedLoss(nn.Module):
    """Compares one pair of levels; a student of other channels gets a trained 1x1 convolution."""

    def __init__(self, method: Composed, pair: LevelPair) -> None:
        super().__init__()
        self.adapter = adapter(pair.student_channels, pair.teacher_channels)
        has_context = method.transform == "context"
        blocks = [ContextBlock(pair.teacher_channels) if has_context else nn.Identity() for _ in range(2)]
        self.student_context, self.teacher_context = blocks
        self._method, self._pair = method, pair

    def forward(self, student: Tensor, teacher: Tensor, lesson: Lesson) -> Terms:
        """Compare maps (N, C, H, W)."""
        with in_float32(self.adapter(student), teacher.detach()) as maps:
            ours, theirs = self.student_context(maps[0]), self.teacher_context(maps[1])
            return Terms({"difference": self._loss(ours, theirs, lesson)}, {"difference": self._method.weight})

    def _loss(self, ours: Tensor, theirs: Tensor, lesson: Lesson) -> Tensor:
        """Compare maps (N, C, H, W) of the same channels in float32: ()."""
        method, num_images = self._method, len(ours)
        cuts_out = method.cells == "each_object"
        if cuts_out:
            ours, theirs = (self._cut_out(each, lesson.targets.boxes) for each in (ours, theirs))
        if not len(ours):
            nothing = ours.sum()
            return Total(nothing, nothing.detach()).mean
        given = theirs.detach()
        temperature = temperature_of(given) if method.temperature == "auto" else method.temperature
        weights = self._weights(given, lesson, temperature)
        standardise = each_standardised if cuts_out else standardised
        ours, theirs = (transformed(each, method.transform, temperature, standardise) for each in (ours, theirs))
        total = DISTANCES[method.distance](ours, theirs, weights.suited(ours.shape), temperature)
        if method.reduction == "mean":
            return total.mean
        return total.value / num_images * method.cell_factor(lesson.input_size)

    def _cut_out(self, features: Tensor, boxes: Sequence[Tensor]) -> Tensor:
        """Cut the objects (n, 4) of each image out of a map (N, C, H, W): (objects of all images, C, 7, 7)."""
        given = [each.to(features.device, torch.float32) for each in boxes]
        return pool_from_map(features, given, self._pair.stride, _CUT_OUT)

    @torch.no_grad()
    def _weights(self, teacher: Tensor, lesson: Lesson, temperature: Temperature) -> Weights:
        """Weigh the cells and channels of the teacher's map (n, C, H, W)."""
        cells = self._cells(teacher, lesson)
        if self._method.attention == "none":
            return Weights(cells)
        of_cells, of_channels = attention(teacher, temperature)
        if self._method.attention != "channels":
            cells = of_cells[:, None] if cells is None else cells * of_cells[:, None]
        return Weights(cells, None if self._method.attention == "cells" else of_channels[:, :, None, None])

    def _cells(self, like: Tensor, lesson: Lesson) -> Tensor | None:
        """Weigh the cells of a map (N, C, H, W) by where objects are: (N, 1, H, W)."""
        match self._method.cells:
            case "object_areas" | "background_areas" as kind:
                (masks,) = scale_masks(lesson.targets.boxes, [lesson.input_size], [like])
                return (masks.foreground if kind == "object_areas" else masks.background)[:, None]
            case "objects" | "background" as kind:
                mask = box_mask(stacked(lesson.targets.boxes, like.device), self._pair.stride, like)
                return (mask if kind == "objects" else 1 - mask)[:, None]
            case "gaussian":
                return gaussian_mask(stacked(lesson.targets.boxes, like.device), self._pair.stride, like)[:, None]
            case "confidence":
                return _confidence(lesson, self._pair.teacher_level, like)
        return None


def _confidence(lesson: Lesson, level: int, like: Tensor) -> Tensor:
    """Return the teacher's highest class score at each cell of a map (N, C, H, W): (N, 1, H, W) in [0, 1].

    Args:
        level: the teacher's, as an index into its outputs.
    """
    outputs = lesson.teacher.outputs
    assert isinstance(outputs, DenseOutputs), "the spec asks the teacher for class scores at every location"
    highest = outputs.logit_maps()[level].amax(1, keepdim=True).to(like.dtype).sigmoid()
    if highest.shape[2:] == like.shape[2:]:
        return highest
    return interpolate(highest, like.shape[2:], mode="bilinear")


def _pairs(method: Composed, student: Side, teacher: Side) -> Sequence[Pair]:
    return match_levels(student.levels, teacher.levels, teacher.input_scale)[: method.levels]


_on_maps = per_level(ComposedLoss, pairing=_pairs)


class ComposedOnLogits(Method):
    """Compares the class logits of each level, as maps with a channel for each class and anchor of a cell."""

    def __init__(self, method: Composed, student: Side, teacher: Side) -> None:
        super().__init__()
        check_same_locations(method.name(), student, teacher)
        check_same_classes(method.name(), teacher)
        levels = [*student.levels][: method.levels]
        self.level_names = [level.name for level in levels]
        for index, level in enumerate(levels):
            # Heads of one kind have equally many channels, so no adapter is needed, however many these are.
            pair = LevelPair(index, len(levels), level.name, float(level.stride), index, 0, 0)
            self.add_module(str(index), ComposedLoss(method, pair))

    def forward(self, lesson: Lesson) -> Mapping[str, Terms]:
        """Compute the loss of each level, by its name."""
        student, teacher = lesson.student.outputs, lesson.teacher.outputs
        assert isinstance(student, DenseOutputs) and isinstance(teacher, DenseOutputs)
        maps = zip(self.level_names, self.children(), student.logit_maps(), teacher.logit_maps(), strict=False)
        return {name: loss(ours, theirs, lesson) for name, loss, ours, theirs in maps}

    def compares(self) -> Sequence[str]:
        """Return what is compared, in words."""
        return (f"the class logits of levels {', '.join(self.level_names)}",)


def build_composed(method: Composed, student: Side, teacher: Side) -> Method:
    """Build the method for the maps of the pyramid, or for the class logits."""
    return (ComposedOnLogits if method.of == "logits" else _on_maps)(method, student, teacher)
