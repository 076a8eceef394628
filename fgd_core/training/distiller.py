"""The teacher beside the student: one loss for each level that both have."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import grid_sample

from fgd_core.data.loading import Batch
from fgd_core.detectors.base import Detector
from fgd_core.detectors.rescaled import RescaledDetector
from fgd_core.methods import ADVICE, METHODS
from fgd_core.spec.methods import MethodSpec
from fgd_core.training.levels import match_levels, plan_levels
from fgd_core.training.teacher_maps import OwnTeacher, TeacherMaps


class Distiller(nn.Module):
    """Runs the teacher's backbone and neck, and compares level by level.

    The two may be of different kinds: levels are paired by stride, a narrower or wider map is led to the teacher's
    channels by the method's adapter, and a `RescaledDetector` teacher sees the image at its own size. Both see the same
    pixels: RGB, normalised as ImageNet. A teacher that was trained on another normalisation (mmdetection's caffe style:
    BGR and a deviation of 1) has the difference folded into its first convolution where its weights are imported.

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
        self._method = method
        self._is_idle = method.weighs_nothing
        input_scale = teacher.scale if isinstance(teacher, RescaledDetector) else 1.0
        self._pairs = match_levels(student.levels, teacher.levels, input_scale)
        self.planned_levels = plan_levels(student.levels, teacher.levels, input_scale, self._pairs)
        self.level_names = [student.levels[pair.student].name for pair in self._pairs]
        build = METHODS[type(method)]
        self.losses = nn.ModuleList(
            build(method, student.levels[pair.student].channels, teacher.levels[pair.teacher].channels)
            for pair in self._pairs
        )

    @torch.no_grad()
    def advice(self, batch: Batch) -> list[str]:
        """What does not suit the teacher's maps, in words that can be followed."""
        if self._is_idle:
            return []
        maps = self._maps.maps(batch)
        by_level = {name: maps[pair.teacher] for name, pair in zip(self.level_names, self._pairs, strict=True)}
        advice = ADVICE[type(self._method)](self._method, by_level)
        return [advice] if advice is not None else []

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
        for name, loss, pair in zip(self.level_names, self.losses, self._pairs, strict=True):
            ours = student_features[pair.student]
            theirs = onto_grid(teacher_features[pair.teacher], pair.cells_per_cell, ours)
            terms = loss(ours, theirs, batch.boxes, batch.image_sizes, input_size)
            total = total + terms.total
            parts[f"distill/{name}"] = terms.total.detach()
            for term, value in terms.unweighted().items():
                parts[f"distill/{term}"] = parts.get(f"distill/{term}", 0) + value.detach()
        parts["distill/total"] = total.detach()
        return total, parts


def onto_grid(features: Tensor, cells_per_cell: float, like: Tensor) -> Tensor:
    """A map on the grid of another, interpolated where their cells are not the same.

    Both begin at the image's top left corner. Their right and lower borders need not lie at the same pixel, so the map
    is not stretched from border to border; beyond its own, its last cells go on.

    Args:
        features: (N, C, H, W).
        cells_per_cell: of `features` to a side of a cell of `like`.
        like: (N, C', H', W'); only its shape counts.
    Returns:
        (N, C, H', W')
    """
    if cells_per_cell == 1 and features.shape[2:] == like.shape[2:]:
        return features
    # Positions of the wanted centres on the map, from -1 at one border to 1 at the other.
    y, x = (
        (torch.arange(wanted, device=features.device, dtype=torch.float32) + 0.5) * cells_per_cell / there * 2 - 1
        for wanted, there in zip(like.shape[2:], features.shape[2:], strict=True)
    )
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).expand(len(features), -1, -1, -1)
    return grid_sample(features.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)
