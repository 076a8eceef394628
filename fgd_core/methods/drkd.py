"""Dual relation knowledge distillation (DRKD, arXiv:2302.05637): relations between cells, and between objects.

On each level, a `GraphReasoning` block of each network relates the cells. On the two finest levels, the objects' boxes
are pooled by RoIAlign, and an `ObjectRelation` block of each network relates the objects of an image. All blocks and
the student's adapters train with the student and are discarded afterwards; no gradient reaches the teacher's maps.

`relation: features` follows the authors' code. It compares the enhanced features by L2 norms: over the whole batch for
cells, over each image for objects. `relation: matrix` follows the paper, as far as it is known: squares instead of
norms, relations of objects as matrices, the mean over levels for cells, and the mean over objects for their features.
"""

import torch
from torch import Tensor, nn
from torch.linalg import vector_norm
from torchvision.ops import roi_align

from fgd_core.methods.base import Lesson, LevelPair, Terms
from fgd_core.methods.parts.graph_reasoning import GraphReasoning
from fgd_core.methods.parts.object_relation import ObjectRelation
from fgd_core.methods.parts.objects import Objects, stacked
from fgd_core.methods.parts.precision import in_float32
from fgd_core.methods.per_level import by_stride_with_derived, per_level
from fgd_core.ranks import divisor, norm_over_ranks, world_size
from fgd_core.spec.methods.drkd import Drkd

_LEVELS_WITH_OBJECTS = 2
_NODES_ON_FINE_LEVELS, _NODES = 64, 256


def pool_objects(features: Tensor, objects: Objects, stride: float, size: int) -> Tensor:
    """Pool the objects' features from one map with RoIAlign.

    Args:
        features: (N, C, H, W), float32 or float64.
        objects: boxes (N, most, 4) in pixels.
        stride: pixels per cell.
        size: of the pooled square in cells.
    Returns:
        (N, most, C, size, size); 0 for rows that do not exist.
    """
    images, most = objects.exist.shape
    image = torch.arange(images, device=features.device).to(features.dtype).repeat_interleave(most)
    # Rows that fill up become empty boxes in the corner of their image.
    boxes = (objects.boxes * objects.exist[..., None]).flatten(0, 1).to(features.dtype)
    regions = torch.cat([image[:, None], boxes], 1)
    pooled: Tensor = roi_align(features, regions, size, spatial_scale=1 / stride)
    return pooled.view(images, most, *pooled.shape[1:]) * objects.exist[..., None, None, None]


class DrkdLoss(nn.Module):
    """Compares the relations of one pair of levels."""

    def __init__(self, method: Drkd, pair: LevelPair) -> None:
        super().__init__()
        nodes = _NODES_ON_FINE_LEVELS if pair.position < _LEVELS_WITH_OBJECTS else _NODES
        ours, theirs = pair.student_channels, pair.teacher_channels
        self.student_relation, self.teacher_relation = (GraphReasoning(each, nodes) for each in (ours, theirs))
        self.adapter = nn.Conv2d(ours, theirs, 1)
        self.objects = _ObjectsOfLevel(method, ours, theirs) if pair.position < _LEVELS_WITH_OBJECTS else None
        self._method, self._pair = method, pair

    def forward(self, student: Tensor, teacher: Tensor, lesson: Lesson) -> Terms:
        """Compare maps (N, C, H, W)."""
        with in_float32(student, teacher.detach()) as (ours, theirs):
            parts = self._between_cells(ours, theirs)
            if self.objects is not None:
                objects = stacked(lesson.targets.boxes, ours.device)
                parts |= self.objects(*(self._pooled(each, objects) for each in (ours, theirs)), objects.exist)
        weights = {name: getattr(self._method, name) for name in self._method.weight_fields}
        return Terms(parts, {name: weights.get(name, 0.0) for name in parts})

    def _between_cells(self, student: Tensor, teacher: Tensor) -> dict[str, Tensor]:
        """Compare the relations of the cells of maps (N, C, H, W)."""
        related = self.teacher_relation(teacher)
        gap = self.adapter(self.student_relation(student)) - related
        is_norm = self._method.relation == "features"
        pixels = norm_over_ranks(gap) if is_norm else world_size() * gap.square().sum() / self._pair.num_pairs
        return {"pixels": pixels, "teacher_norm": norm_over_ranks(related.detach())}

    def _pooled(self, features: Tensor, objects: Objects) -> Tensor:
        """Pool objects (N, most, 4) from a map (N, C, H, W): (N, most, C, size, size)."""
        return pool_objects(features, objects, self._pair.stride, self._method.roi_size)


class _ObjectsOfLevel(nn.Module):
    """Compares the objects of one level."""

    def __init__(self, method: Drkd, student_channels: int, teacher_channels: int) -> None:
        super().__init__()
        self._enhances = method.relation == "features"
        self.student_relation, self.teacher_relation = (
            _relation(method, each) for each in (student_channels, teacher_channels)
        )
        self.feature_adapter = nn.Conv2d(student_channels, teacher_channels, 1)
        self.relation_adapter = nn.Conv2d(student_channels, teacher_channels, 1) if self._enhances else nn.Linear(1, 1)

    def forward(self, student: Tensor, teacher: Tensor, exist: Tensor) -> dict[str, Tensor]:
        """Compare pooled objects (N, most, C, size, size), of which (N, most) exist."""
        ours, theirs = (
            relation(pooled.flatten(2), exist)
            for relation, pooled in ((self.student_relation, student), (self.teacher_relation, teacher))
        )
        features = _existing(_adapted(self.feature_adapter, student) - teacher, exist)
        if self._enhances:
            enhanced = _adapted(self.relation_adapter, ours.enhanced.view_as(student))
            relations = _existing(enhanced - theirs.enhanced.view_as(teacher), exist)
            return {
                "instances": world_size() * vector_norm(relations, dim=1).sum(),
                "features": world_size() * vector_norm(features, dim=1).sum(),
            }
        gap = self.relation_adapter(ours.matrix[..., None])[..., 0] - theirs.matrix
        return {
            "instances": world_size() * (gap.square() * exist[:, :, None] * exist[:, None]).sum(),
            "features": features.square().sum() / divisor(exist.sum()),
        }


def _relation(method: Drkd, channels: int) -> ObjectRelation:
    size = channels * method.roi_size**2
    width = method.width or max(1, size // 2)
    return ObjectRelation(size, width, enhances=method.relation == "features", filters=method.filter)


def _adapted(convolution: nn.Module, pooled: Tensor) -> Tensor:
    """Adapt the channels of pooled objects (N, most, C, size, size)."""
    adapted: Tensor = convolution(pooled.flatten(0, 1))
    return adapted.view(*pooled.shape[:2], *adapted.shape[1:])


def _existing(difference: Tensor, exist: Tensor) -> Tensor:
    """Keep the objects of (N, most, C, size, size) that exist (N, most), in one row an image: (N, most C size size)."""
    return (difference.flatten(2) * exist[..., None]).flatten(1)


build_drkd = per_level(DrkdLoss, pairing=by_stride_with_derived)
