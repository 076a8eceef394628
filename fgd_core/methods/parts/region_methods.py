"""Methods that compare the heads of two-stage detectors; other methods contain them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from fgd_core.data.targets import Targets
from fgd_core.methods.base import Lesson, Method, Moment, Side, Terms, View
from fgd_core.methods.parts.comparable import check_same_heads
from fgd_core.methods.parts.decay import decay_factor
from fgd_core.methods.parts.divergence import probability_cross_entropy
from fgd_core.methods.parts.regions import counted_mean, improves, of_own_class, region_divergence
from fgd_core.methods.parts.shared_regions import (
    SharedRegions,
    on_students_regions,
    on_teachers_regions,
    region_heads,
)
from fgd_core.spec.loss_names import REGIONS
from fgd_core.spec.methods.defeat import Decay
from fgd_core.spec.plans import PlannedLevel


class ClassWeights(NamedTuple):
    """The weights of the class probabilities of regions."""

    foreground: float
    """Of the mean over regions with an object."""
    background: float
    """Of the mean over regions without an object."""


class RegionClasses(Method):
    """Compares the class probabilities of the regions that the teacher samples (DeFeat, arXiv:2103.14475).

    Args:
        name: of the method that contains this one.
        temperature: of the probabilities.
        decay: of the weights.
    Raises:
        SpecError: a detector has no regions, or the teacher lacks a class of the data.
    """

    def __init__(
        self,
        name: str,
        student: Side,
        teacher: Side,
        weights: ClassWeights,
        *,
        temperature: float = 1.0,
        decay: Decay = "none",
    ) -> None:
        super().__init__()
        check_same_heads(name, student, teacher)
        self._scale, self._temperature, self._decay = teacher.input_scale, temperature, decay
        self._weights = {"region_foreground": weights.foreground, "region_background": weights.background}

    def forward(self, lesson: Lesson) -> Mapping[str, Terms]:
        """Compute the loss of the regions."""
        shared = on_teachers_regions(lesson, self._scale)
        ours, theirs, has_object = shared.student.logits, shared.teacher.logits, shared.has_object
        parts = {
            "region_foreground": region_divergence(ours, theirs, has_object, self._temperature),
            "region_background": region_divergence(ours, theirs, ~has_object, self._temperature),
        }
        return {REGIONS: Terms(parts, _decayed(self._weights, self._decay, lesson.moment))}

    def compares(self) -> Sequence[str]:
        """Return what is compared, in words."""
        return ("the class probabilities of the teacher's regions",)


class TaskWeights(NamedTuple):
    """The weights of the two tasks of a region head."""

    classes: float
    boxes: float


class RegionTasks(Method):
    """Compares class probabilities and boxes of the student's regions, where the teacher can help.

    Classes: the binary cross entropy of the probabilities, on regions with an object. Boxes: the L1 distance of the
    deltas, on regions with an object where the teacher's refined box overlaps the object more than the region does.
    Source: arXiv:2006.13108, as others describe it; the cross entropy is that of DeFeat's code.

    Args:
        name: of the method that contains this one.
        decay: of the weights.
    Raises:
        SpecError: a detector has no regions, or the teacher lacks a class of the data.
    """

    def __init__(self, name: str, student: Side, teacher: Side, weights: TaskWeights, *, decay: Decay = "none") -> None:
        super().__init__()
        check_same_heads(name, student, teacher)
        self._scale, self._decay = teacher.input_scale, decay
        self._weights = {"region_classes": weights.classes, "region_boxes": weights.boxes}

    def forward(self, lesson: Lesson) -> Mapping[str, Terms]:
        """Compute the loss of the regions."""
        shared = on_students_regions(lesson, self._scale)
        classes = probability_cross_entropy(shared.student.logits, shared.teacher.logits)
        parts = {
            "region_classes": counted_mean(classes, shared.has_object),
            "region_boxes": self._box_loss(shared, lesson),
        }
        return {REGIONS: Terms(parts, _decayed(self._weights, self._decay, lesson.moment))}

    def _box_loss(self, shared: SharedRegions, lesson: Lesson) -> Tensor:
        """Compare the deltas of each region's own class where the gate is open: a scalar ()."""
        student, teacher = region_heads(lesson)
        ours = of_own_class(student.class_columns(shared.student.deltas), shared.labels)  # (n, 4)
        theirs = of_own_class(teacher.class_columns(shared.teacher.deltas), shared.labels)  # (n, 4)
        return counted_mean((ours - theirs).abs().sum(1), self._is_open(shared, lesson))

    @torch.no_grad()
    def _is_open(self, shared: SharedRegions, lesson: Lesson) -> Tensor:
        """Find the regions (n,) with an object whose box the teacher improves."""
        _, teacher = region_heads(lesson)
        proposals = [own * self._scale for own in shared.regions.boxes]
        refined = torch.cat(teacher.decode(shared.teacher.deltas, proposals)) / self._scale  # (n, columns, 4)
        own_class = of_own_class(teacher.class_columns(refined), shared.labels)
        return shared.has_object & improves(own_class, shared.boxes, objects_of(shared, lesson.targets))

    def compares(self) -> Sequence[str]:
        """Return what is compared, in words."""
        return ("class probabilities and boxes of regions, where the teacher improves them",)


def _decayed(weights: Mapping[str, float], decay: Decay, moment: Moment) -> Mapping[str, float]:
    factor = decay_factor(decay, moment)
    return {name: factor * weight for name, weight in weights.items()}


def objects_of(shared: SharedRegions, targets: Targets) -> Tensor:
    """Return the true box of each region: (n, 4) xyxy in pixels; zeros for a region without an object."""
    # Background has the index -1, which is the last row: the zeros.
    padded = [torch.cat([own, own.new_zeros(1, 4)]) for own in targets.boxes]
    return torch.cat([own[objects.clamp(min=-1)] for own, objects in zip(padded, shared.regions.objects, strict=True)])


class WithRegions(Method):
    """Compares maps and regions, each with a method of its own.

    Args:
        maps: compares maps, by level.
        regions: compares regions.
    """

    def __init__(self, maps: Method, regions: Method) -> None:
        super().__init__()
        self.maps, self.regions = maps, regions

    def forward(self, lesson: Lesson) -> Mapping[str, Terms]:
        """Compute the losses of the levels and of the regions."""
        return {**self.maps(lesson), **self.regions(lesson)}

    def compile_losses(self) -> None:
        """Compile the losses of the maps."""
        self.maps.compile_losses()

    def plan(self) -> Sequence[PlannedLevel]:
        """Return every level of both pyramids, and whether it is compared."""
        return self.maps.plan()

    def compares(self) -> Sequence[str]:
        """Return what is compared besides maps, in words."""
        return [*self.maps.compares(), *self.regions.compares()]

    def advice(self, teacher: View) -> Sequence[str]:
        """Return advice about settings that do not suit the teacher."""
        return [*self.maps.advice(teacher), *self.regions.advice(teacher)]
