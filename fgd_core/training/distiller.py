"""The teacher beside the student: one loss for each level that both have."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from fgd_core.data.loading import Batch
from fgd_core.detectors.base import Detector
from fgd_core.errors import SpecError
from fgd_core.methods import METHODS
from fgd_core.methods.base import LevelLoss
from fgd_core.spec.methods import MethodSpec
from fgd_core.training.teacher_maps import OwnTeacher, TeacherMaps


class Distiller(nn.Module):
    """Runs the teacher's backbone and neck, and compares level by level.

    Its parameters are those of the method alone. The teacher is frozen, always in eval mode, and no submodule: it is in
    neither `parameters()` nor `state_dict()`, so no optimiser moves it and no checkpoint carries it. A method whose
    weights are all zero asks nothing of the teacher.

    Args:
        maps: where the teacher's maps come from; `teacher` itself, unless given.
    Raises:
        SpecError: the two pyramids share no stride.
    """

    def __init__(
        self, method: MethodSpec, student: Detector, teacher: Detector, maps: TeacherMaps | None = None
    ) -> None:
        super().__init__()
        teacher.eval().requires_grad_(requires_grad=False)
        self._maps = maps or OwnTeacher(teacher)  # neither is an nn.Module, which would be registered
        self._is_idle = method.weighs_nothing
        of_teacher = {level.stride: index for index, level in enumerate(teacher.levels) if not level.is_derived}
        # Pairs of positions in the two pyramids, by stride: the same number would not mean the same place.
        self._pairs = [
            (index, of_teacher[level.stride])
            for index, level in enumerate(student.levels)
            if level.stride in of_teacher and not level.is_derived
        ]
        if not self._pairs:
            raise SpecError(
                "student and teacher have no level of the same stride; choose detectors that share some",
                student=[level.stride for level in student.levels],
                teacher=[level.stride for level in teacher.levels],
            )
        self.level_names = [student.levels[s].name for s, _ in self._pairs]
        build = METHODS[type(method)]
        self.losses = nn.ModuleList(
            build(method, student.levels[s].channels, teacher.levels[t].channels) for s, t in self._pairs
        )

    @torch.no_grad()
    def advice(self, batch: Batch) -> list[str]:
        """What does not suit the teacher's maps, level by level."""
        if self._is_idle:
            return []
        maps = self._maps.maps(batch)
        said = [
            (name, cast(LevelLoss, loss).advice(maps[t]))
            for name, loss, (_, t) in zip(self.level_names, self.losses, self._pairs, strict=True)
        ]
        return [f"{name}: {advice}" for name, advice in said if advice]

    def forward(self, student_features: Sequence[Tensor], batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """
        Returns:
            The weighted sum over levels, and its parts for the eye: each term unweighted and summed over levels, the
            weighted total of each level.
        """
        total = student_features[0].new_zeros((), dtype=torch.float32)
        if self._is_idle:
            return total, {"distill/total": total}
        teacher_features = self._maps.maps(batch)
        input_size = (batch.images.shape[2], batch.images.shape[3])
        parts: dict[str, Tensor] = {}
        for name, loss, (s, t) in zip(self.level_names, self.losses, self._pairs, strict=True):
            terms = loss(student_features[s], teacher_features[t], batch.boxes, batch.image_sizes, input_size)
            total = total + terms.total
            parts[f"distill/{name}"] = terms.total.detach()
            for term, value in terms.unweighted().items():
                parts[f"distill/{term}"] = parts.get(f"distill/{term}", 0) + value.detach()
        parts["distill/total"] = total.detach()
        return total, parts
