"""Distils a teacher into a student: gives a method its lesson in each step, and sums what it returns."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fgd_core.data.loading import Batch
from fgd_core.detectors.base import Detector
from fgd_core.detectors.rescaled import RescaledDetector
from fgd_core.methods import METHODS
from fgd_core.methods.base import Lesson, Moment, Side, View
from fgd_core.spec.methods import AnyMethod
from fgd_core.spec.plans import PlannedLevel
from fgd_core.training.teacher_maps import OwnTeacher, TeacherMaps


class Distiller(nn.Module):
    """Runs the parts of the teacher that the method reads, and computes the method's loss.

    Teacher and student may be different detectors; a `RescaledDetector` teacher gets the image at its own size. Both
    get the same pixels: RGB, normalised as for ImageNet. For a teacher that was trained with another normalisation
    (mmdetection's caffe style: BGR, standard deviation 1), the import of its weights has folded the difference into its
    first convolution.

    The module's parameters are only the method's. The teacher is frozen and always in eval mode. It is not a submodule,
    so it is neither in `parameters()` nor in `state_dict()`: no optimiser changes it, and no checkpoint contains it. If
    all weights of the method are zero, the teacher does not run.

    Args:
        maps: source of the teacher's maps; default: `teacher` itself.
    Raises:
        SpecError: the method does not suit the pair, for example because the pyramids have no common stride.
    """

    def __init__(
        self, method: AnyMethod, student: Detector, teacher: Detector, maps: TeacherMaps | None = None
    ) -> None:
        super().__init__()
        teacher.eval().requires_grad_(requires_grad=False)
        self._maps = maps or OwnTeacher(teacher)  # neither is an nn.Module: a module would be registered as a submodule
        self._scale = method.scale
        self._is_idle = method.weighs_nothing
        # Checkpoints hold the parameters of the method under this name.
        self.losses = METHODS[type(method)](method, side_of(student), side_of(teacher))

    @property
    def planned_levels(self) -> list[PlannedLevel]:
        """Every level of both pyramids, and whether the method compares it."""
        return [*self.losses.plan()]

    @property
    def level_names(self) -> list[str]:
        """The names of the student's levels that the method compares."""
        return [each.student.name for each in self.planned_levels if each.student is not None and each.is_distilled]

    @torch.no_grad()
    def advice(self, batch: Batch) -> list[str]:
        """Return advice about hyper-parameters that do not suit the teacher's maps, in words; empty if all do."""
        if self._is_idle:
            return []
        return list(self.losses.advice(View(lambda: self._maps.maps(batch))))

    def forward(
        self, student_features: Sequence[Tensor], batch: Batch, moment: Moment
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the distillation loss of a batch.

        Args:
            student_features: the student's levels from fine to coarse, each (N, C, H, W).
            batch: on the same device.
            moment: the place in the training.
        Returns:
            The weighted sum over levels, a scalar, and its parts for display, scalars without gradient: each term
            unweighted and summed over levels, and the weighted total of each level.
        """
        total = student_features[0].new_zeros((), dtype=torch.float32)
        if self._is_idle:
            return total, {"distill/total": total}
        lesson = Lesson(
            student=View(lambda: student_features),
            teacher=View(lambda: self._maps.maps(batch)),
            targets=batch.targets,
            input_size=(batch.images.shape[2], batch.images.shape[3]),
            moment=moment,
        )
        parts: dict[str, Tensor] = {}
        for place, terms in self.losses(lesson).items():
            weighed = terms.scaled(self._scale)
            total = total + weighed
            parts[f"distill/{place}"] = weighed.detach()
            for term, value in terms.parts.items():
                parts[f"distill/{term}"] = parts.get(f"distill/{term}", 0) + value.detach()
        parts["distill/total"] = total.detach()
        return total, parts


def side_of(detector: Detector) -> Side:
    """Describe a student or a teacher to a method."""
    scale = detector.scale if isinstance(detector, RescaledDetector) else 1.0
    return Side(detector.levels, detector.num_classes, scale)
