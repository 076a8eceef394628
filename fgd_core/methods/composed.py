"""A loss that is composed of parts, of each of the places that can be compared: backbone, pyramid, regions, logits."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from fgd_core.errors import SpecError
from fgd_core.methods.base import Lesson, LevelPair, Method, Side, Terms
from fgd_core.methods.composition import Composition, Place
from fgd_core.methods.levels import Pair, match_levels
from fgd_core.methods.parts.comparable import check_same_classes, check_same_locations
from fgd_core.methods.parts.objects import Objects, one_each, stacked
from fgd_core.methods.parts.region_methods import objects_of
from fgd_core.methods.parts.shared_regions import SharedRegions, on_students_regions
from fgd_core.methods.per_level import per_level
from fgd_core.outputs import DenseOutputs
from fgd_core.roi_align import pool_from_map
from fgd_core.spec.loss_names import REGIONS
from fgd_core.spec.methods.composed import Composed

_CUT_OUT = 7
"""Side of an object that is cut out of a map, in cells: that of region heads."""


class ComposedLoss(Composition):
    """Compares one pair of levels."""

    def __init__(self, method: Composed, pair: LevelPair) -> None:
        super().__init__(method, pair.student_channels, pair.teacher_channels)
        self._pair = pair

    def forward(self, student: Tensor, teacher: Tensor, lesson: Lesson) -> Terms:
        """Compare maps (N, C, H, W)."""
        boxes, stride, level = lesson.targets.boxes, self._pair.stride, self._pair.teacher_level
        place = Place(
            num_images=len(student),
            size=lesson.input_size,
            stride=stride,
            objects=lambda: stacked(boxes, student.device),
            cut_out=lambda maps: pool_from_map(
                maps, [each.to(maps.device, torch.float32) for each in boxes], stride, _CUT_OUT
            ),
            scores=lambda: _scores_at(lesson, level),
        )
        return self.compare(student, teacher, place)


def _scores_at(lesson: Lesson, level: int) -> Tensor:
    """Return the teacher's highest class score at each cell of its level: (N, 1, h, w).

    Args:
        level: index of the level; the stage of the backbone below it has the same index.
    """
    outputs = lesson.teacher.outputs
    assert isinstance(outputs, DenseOutputs), "the spec asks the teacher for class scores at every location"
    return outputs.logit_maps()[level].amax(1, keepdim=True).float().sigmoid()


def _pairs(method: Composed, student: Side, teacher: Side) -> Sequence[Pair]:
    return match_levels(student.levels, teacher.levels, teacher.input_scale)[: method.levels]


def _trained_pairs(method: Composed, student: Side, teacher: Side) -> Sequence[Pair]:
    """Leave out the stages that do not train: their loss would be a constant, which a found scale would count."""
    pairs = match_levels(student.levels, teacher.levels, teacher.input_scale)
    return [pair for pair in pairs if not student.levels[pair.student].is_frozen][: method.levels]


_on_maps = per_level(ComposedLoss, pairing=_pairs)
_on_stages = per_level(ComposedLoss, pairing=_trained_pairs, network="stages")


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


class ComposedOnRegions(Method):
    """Compares the features of the regions that the student trains on; each region is a map of 7 x 7 cells.

    The object of a region is the one that it is matched to.
    """

    def __init__(self, method: Composed, student: Side, teacher: Side) -> None:
        super().__init__()
        if not (student.has_regions and teacher.has_regions):
            raise SpecError(
                f"method {method.name()} compares regions, and a detector has none; choose two-stage detectors for "
                "student and teacher, or set method.of to maps"
            )
        self._scale = teacher.input_scale
        self.composition = Composition(method, student.levels[0].channels, teacher.levels[0].channels)

    def forward(self, lesson: Lesson) -> Mapping[str, Terms]:
        """Compute the loss of the regions."""
        shared = on_students_regions(lesson, self._scale)
        ours, theirs = shared.student.pooled, shared.teacher.pooled
        return {REGIONS: self.composition.compare(ours, theirs, _place(shared, lesson, ours.shape[2]))}

    def compares(self) -> Sequence[str]:
        """Return what is compared, in words."""
        return ("the features of the student's regions",)


def _place(shared: SharedRegions, lesson: Lesson, side: int) -> Place:
    """Describe the maps of n regions, `side` cells wide and high; a pixel of a region is one of its cells."""
    regions, counts = shared.regions, [len(own) for own in shared.regions.boxes]

    def objects() -> Objects:
        corner, end = torch.split(shared.boxes, 2, dim=1)
        cells = side / (end - corner).clamp(min=1e-6)
        in_region = (objects_of(shared, lesson.targets) - corner.repeat(1, 2)) * cells.repeat(1, 2)
        return one_each(in_region, shared.has_object)

    def with_object(maps: Tensor) -> Tensor:
        return torch.cat(regions.on_objects(torch.split(maps, counts)))

    def scores() -> Tensor:
        highest = shared.teacher.logits.softmax(1)[:, 1:].amax(1)
        return highest[:, None, None, None].expand(-1, 1, side, side)

    return Place(
        num_images=len(counts),
        size=(side, side),
        stride=1.0,
        objects=objects,
        cut_out=with_object,
        scores=scores,
        grows=False,
    )


_BUILDERS = {"maps": _on_maps, "backbone": _on_stages, "logits": ComposedOnLogits, "regions": ComposedOnRegions}


def build_composed(method: Composed, student: Side, teacher: Side) -> Method:
    """Build the method for the place that is compared."""
    return _BUILDERS[method.of](method, student, teacher)
