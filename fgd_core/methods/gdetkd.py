"""G-DetKD (arXiv:2108.07482): imitates regions on learned levels of the student, and contrasts their vectors.

For n regions with the teacher's pooled features T_i and the student's S_i^l of every level l, after a 1x1 convolution:

    features = 1/n Σ_i mean (Σ_l a_i^l S_i^l - T_i)^2, a_i = softmax over levels of <e(S_i^l), e(T_i)> / τ
    contrast = 1/n Σ_i -log of the share of exp(cos(v_i, u_i) / γ) among the region's own and all negative vectors
    classes  = 1/n Σ_i KL(teacher || student) of the class probabilities
    boxes    = 1/n Σ_i |Σ_c p_c (teacher's - student's deltas of class c)|, p the teacher's probabilities

u are the last hidden vectors of the teacher's head, v the student's after a linear layer without offset. Negatives are
the teacher's vectors of other regions, except those that overlap the region by more than half, and of earlier steps.
`classes` and `boxes` are for students with regions. Their regions are those that they train on. A student without
regions is compared on boxes that it predicts: a quarter of them on objects; its vectors are its head's maps before the
class scores, at the location that predicts the box.

The authors published no code. The known re-implementation, in todd and HEAD, normalises the weights a over the regions,
against the paper; here they are normalised over the levels.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fgd_core.methods.base import Lesson, Method, Side, Terms
from fgd_core.methods.parts.comparable import check_same_classes
from fgd_core.methods.parts.contrast import Memory, are_apart, info_nce
from fgd_core.methods.parts.guided_levels import GuidedLevels
from fgd_core.methods.parts.precision import in_float32
from fgd_core.methods.parts.predicted_regions import sample_predictions, vectors_at
from fgd_core.methods.parts.regions import counted_mean, expected_deltas, region_divergence
from fgd_core.methods.parts.shared_regions import SharedRegions, on_students_regions, read_by_teacher, region_heads
from fgd_core.outputs import DenseOutputs, RegionReading
from fgd_core.ranks import gathered
from fgd_core.roi_align import pool_from_map
from fgd_core.spec.loss_names import REGIONS
from fgd_core.spec.methods.gdetkd import GDetKd

_POOLED = 7
_OVERLAP_OF_NEGATIVES = 0.5
_REMEMBERED_PER_STEP = 256


class Compared(NamedTuple):
    """Holds n regions, and what both networks know of them."""

    boxes: list[Tensor]
    """For each image (n_i, 4) xyxy in pixels of the student's images."""
    vectors: Tensor
    """(n, D) of the student."""
    teacher: RegionReading


class GDetKdMethod(Method):
    """Compares regions; adapter, embedding with its temperature, projector and memory are its own."""

    def __init__(self, method: GDetKd, student: Side, teacher: Side) -> None:
        super().__init__()
        self._method, self._scale = method, teacher.input_scale
        self._compares_outputs = student.has_regions
        if self._compares_outputs:
            check_same_classes(method.name(), teacher)
        self._strides = {index: level.stride for index, level in enumerate(student.levels) if not level.is_derived}
        width, dimensions = teacher.levels[0].channels, teacher.vector_size
        self.adapter = nn.Conv2d(student.levels[0].channels, width, 1)
        self.guided = GuidedLevels(width)
        self.projector = nn.Linear(student.vector_size, dimensions, bias=False)
        self.memory = Memory(method.memory, dimensions, _REMEMBERED_PER_STEP)
        self._weights = {name: getattr(method, name) for name in ("features", "contrast", "classes", "boxes")}

    def forward(self, lesson: Lesson) -> Mapping[str, Terms]:
        """Compute the loss of the regions."""
        if self._compares_outputs:
            shared = on_students_regions(lesson, self._scale)
            compared = Compared(shared.regions.boxes, shared.student.vectors, shared.teacher)
            parts = _output_losses(shared, lesson)
        else:
            compared, parts = self._on_predictions(lesson), {}
        pooled = self._pooled(lesson, compared.boxes)
        with in_float32(pooled, compared.teacher.pooled) as (ours, theirs):
            parts["features"] = self.guided(ours, theirs)
        parts["contrast"] = self._contrast(compared)
        return {REGIONS: Terms(parts, self._weights)}

    def compares(self) -> Sequence[str]:
        """Return what is compared, in words."""
        outputs = ("class probabilities and boxes of regions",) if self._compares_outputs else ()
        return ("the features of regions, on learned levels", "the last hidden vectors of regions", *outputs)

    def _on_predictions(self, lesson: Lesson) -> Compared:
        """Choose regions among the student's predicted boxes, and run the teacher's head on them."""
        outputs, head = lesson.student.outputs, lesson.student.dense_head
        assert isinstance(outputs, DenseOutputs) and head is not None
        chosen = sample_predictions(outputs, lesson.targets, self._method.regions_per_image)
        maps = head.tower(lesson.student.pyramid, head.tower_depth).classes
        vectors = vectors_at([level.relu() for level in maps], chosen.anchors, outputs.anchors_per_cell)
        return Compared(chosen.boxes, vectors, read_by_teacher(lesson, chosen.boxes, self._scale))

    def _pooled(self, lesson: Lesson, boxes: Sequence[Tensor]) -> Tensor:
        """Pool boxes from every level of the student's pyramid, in the teacher's width: (L, n, C, 7, 7)."""
        head, pyramid = lesson.teacher.region_head, lesson.student.pyramid
        assert head is not None
        # As the teacher pools: otherwise the same box would show cells that are half a cell apart.
        pool = partial(pool_from_map, boxes=boxes, size=_POOLED, aligned=head.pools_aligned)
        return torch.stack(
            [pool(self.adapter(pyramid[index]), stride=stride) for index, stride in self._strides.items()]
        )

    def _contrast(self, compared: Compared) -> Tensor:
        """Contrast the vectors of regions, then remember the teacher's: a scalar ()."""
        with in_float32(compared.vectors, compared.teacher.vectors) as (ours, theirs):
            keys = gathered(theirs)
            loss = info_nce(
                self.projector(ours),
                keys.rows,
                are_apart(compared.boxes, _OVERLAP_OF_NEGATIVES),
                # A copy: the gradient needs the vectors of before this step.
                self.memory.vectors.clone(),
                self._method.contrast_temperature,
                first=keys.first,
            )
            self.memory.add(keys.rows)
        return loss


def _output_losses(shared: SharedRegions, lesson: Lesson) -> dict[str, Tensor]:
    """Compare class probabilities and boxes of regions; both are means over all regions, scalars ()."""
    every = torch.ones_like(shared.has_object)
    student, teacher = region_heads(lesson)
    gaps = student.class_columns(shared.student.deltas) - teacher.class_columns(shared.teacher.deltas)  # (n, K, 4)
    distances = expected_deltas(gaps, shared.teacher.logits).abs().sum(1)  # (n,)
    return {
        "classes": region_divergence(shared.student.logits, shared.teacher.logits, every, 1.0),
        "boxes": counted_mean(distances, every),
    }


def build_gdetkd(method: GDetKd, student: Side, teacher: Side) -> Method:
    """Build the method for a pair of detectors."""
    return GDetKdMethod(method, student, teacher)
