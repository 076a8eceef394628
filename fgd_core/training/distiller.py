"""Distils a teacher into a student: one loss for each pair of pyramid levels."""

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
    """Runs the teacher's backbone and neck, and computes the method's loss level by level.

    Teacher and student may be different detectors. Levels are paired by stride; where the channels differ, the method's
    adapter maps the student's channels to the teacher's; a `RescaledDetector` teacher gets the image at its own size.
    Both get the same pixels: RGB, normalised as for ImageNet. For a teacher that was trained with another normalisation
    (mmdetection's caffe style: BGR, standard deviation 1), the import of its weights has folded the difference into its
    first convolution.

    The module's parameters are only the method's. The teacher is frozen and always in eval mode. It is not a submodule,
    so it is neither in `parameters()` nor in `state_dict()`: no optimiser changes it, and no checkpoint contains it. If
    all weights of the method are zero, the teacher does not run.

    Args:
        maps: source of the teacher's maps; default: `teacher` itself.
    Raises:
        SpecError: the pyramids have no common stride.
    """

    def __init__(
        self, method: MethodSpec, student: Detector, teacher: Detector, maps: TeacherMaps | None = None
    ) -> None:
        super().__init__()
        teacher.eval().requires_grad_(requires_grad=False)
        self._maps = maps or OwnTeacher(teacher)  # neither is an nn.Module: a module would be registered as a submodule
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
        """Return advice about hyper-parameters that do not suit the teacher's maps, in words; empty if all do."""
        if self._is_idle:
            return []
        maps = self._maps.maps(batch)
        by_level = {name: maps[pair.teacher] for name, pair in zip(self.level_names, self._pairs, strict=True)}
        advice = ADVICE[type(self._method)](self._method, by_level)
        return [advice] if advice is not None else []

    def forward(self, student_features: Sequence[Tensor], batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the distillation loss of a batch.

        Args:
            student_features: the student's levels from fine to coarse, each (N, C, H, W).
            batch: on the same device.
        Returns:
            The weighted sum over levels, a scalar, and its parts for display, scalars without gradient: each term
            unweighted and summed over levels, and the weighted total of each level.
        """
        total = student_features[0].new_zeros((), dtype=torch.float32)
        if self._is_idle:
            return total, {"distill/total": total}
        teacher_features = self._maps.maps(batch)
        input_size = (batch.images.shape[2], batch.images.shape[3])
        parts: dict[str, Tensor] = {}
        for name, loss, pair in zip(self.level_names, self.losses, self._pairs, strict=True):
            student_map = student_features[pair.student]
            teacher_map = resample(teacher_features[pair.teacher], pair.cells_per_cell, student_map)
            terms = loss(student_map, teacher_map, batch.boxes, batch.image_sizes, input_size)
            total = total + terms.total
            parts[f"distill/{name}"] = terms.total.detach()
            for term, value in terms.unweighted().items():
                parts[f"distill/{term}"] = parts.get(f"distill/{term}", 0) + value.detach()
        parts["distill/total"] = total.detach()
        return total, parts


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
