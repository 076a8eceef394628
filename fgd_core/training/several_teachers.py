"""Distils several teachers into one student at the same time."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fgd_core.data.loading import Batch
from fgd_core.methods.base import Moment, Outputs
from fgd_core.spec.events import ScaleChosen
from fgd_core.training.distiller import Distillation, Distiller, at_rest


class WeightedTeacher(NamedTuple):
    """Holds the distiller of one teacher and the weight of its loss."""

    distiller: Distiller
    weight: float
    """Relative to the other teachers'; at least 0."""


def mean_of(teachers: Sequence[WeightedTeacher]) -> Distillation:
    """Return the distillation of all teachers; a single teacher's is its distiller, whatever its weight."""
    return teachers[0].distiller if len(teachers) == 1 else SeveralTeachers(teachers)


class SeveralTeachers(Distillation):
    """Computes the weighted mean of the losses of several teachers; each has its own instance of the method.

    The student runs once on each picture, whatever the number of teachers. A teacher of weight 0 does not run.

    Args:
        teachers: at least one of them has a weight above 0.
    """

    def __init__(self, teachers: Sequence[WeightedTeacher]) -> None:
        super().__init__()
        self.distillers = nn.ModuleList(each.distiller for each in teachers)
        whole = sum(each.weight for each in teachers)
        self._taught = [(number, each.distiller, each.weight / whole) for number, each in enumerate(teachers, start=1)]

    def advice(self, batch: Batch) -> list[str]:
        """Return the advice about each teacher."""
        return [
            f"teacher {number}: {sentence}"
            for number, distiller, share in self._taught
            if share
            for sentence in distiller.advice(batch)
        ]

    def take_news(self) -> list[ScaleChosen]:
        """Return the scales that were found, each with the number of its teacher, if they are new."""
        return [
            news.model_copy(update={"teacher": number})
            for number, distiller, _ in self._taught
            for news in distiller.take_news()
        ]

    def compile_parts(self) -> None:
        """Compile the parts of each teacher's distillation."""
        for _, distiller, _ in self._taught:
            distiller.compile_parts()

    def labelled(self, batch: Batch) -> Batch:
        """Return a batch of a pool with the boxes that the first teacher is sure of."""
        return self._taught[0][1].labelled(batch)

    @property
    def has_fixed_scale(self) -> bool:
        """Whether the scales of all teachers' methods are numbers without a schedule."""
        return all(distiller.has_fixed_scale for _, distiller, _ in self._taught)

    def forward(
        self,
        student_maps: Sequence[Tensor],
        batch: Batch,
        moment: Moment,
        outputs: Outputs | None = None,
        task: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the mean loss from the student's maps, each (N, C, H, W); see `Distillation.forward`.

        Each part is the weighted mean over the teachers; `distill/teacher_1` and so on are the teachers' own totals.
        """
        student = self._taught[0][1].student_views(student_maps, batch, outputs)
        total = batch.images.new_zeros((), dtype=torch.float32)
        parts: dict[str, Tensor] = {}
        for number, distiller, share in self._taught:
            if not share:
                total = at_rest(total, distiller)
                continue
            own, of_teacher = distiller.compare(student, batch, moment, task)
            total = total + share * own
            for name, value in of_teacher.items():
                parts[name] = parts.get(name, 0) + share * value
            parts[f"distill/teacher_{number}"] = own.detach()
        return total, parts
