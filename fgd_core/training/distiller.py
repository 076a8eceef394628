"""Distils a teacher into a student: gives a method its lesson in each step, and sums what it returns."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fgd_core.data.loading import Batch
from fgd_core.detectors.base import Detector
from fgd_core.methods import METHODS
from fgd_core.methods.base import Lesson, Moment, Outputs, Side, Terms, View
from fgd_core.methods.parts.decay import scale_at
from fgd_core.outputs import DenseOutputs
from fgd_core.ranks import world_size, zero_of
from fgd_core.spec.data import IMAGE
from fgd_core.spec.events import ScaleChosen
from fgd_core.spec.methods import AnyMethod
from fgd_core.spec.plans import PlannedLevel
from fgd_core.training.auto_scale import AutoScale
from fgd_core.training.class_order import SharedClasses, class_order, shared_classes
from fgd_core.training.pool_labels import PoolLabels
from fgd_core.training.teacher_maps import OwnTeacher, TeacherMaps


class Distillation(nn.Module):
    """Computes the distillation loss of a step; its parameters are the methods' only."""

    def advice(self, batch: Batch) -> list[str]:
        """Return advice about hyper-parameters that do not suit the teacher's maps, in words; empty if all do."""
        raise NotImplementedError

    def take_news(self) -> list[ScaleChosen]:
        """Return what was decided since the last call."""
        raise NotImplementedError

    def compile_parts(self) -> None:
        """Compile what runs faster then on an accelerator; nothing by default."""

    def labelled(self, batch: Batch) -> Batch:
        """Return a batch of a pool with the boxes that the teacher, the first of several, is sure of."""
        raise NotImplementedError

    @property
    def has_fixed_scale(self) -> bool:
        """Whether a user chose the scale, and it stays the same in the course of the training."""
        raise NotImplementedError

    def forward(
        self,
        student_maps: Sequence[Tensor],
        batch: Batch,
        moment: Moment,
        outputs: Outputs | None = None,
        task: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the distillation loss of a batch.

        Args:
            student_maps: as of `Detector.all_maps`, each (N, C, H, W); those of the backbone are read only by a method
                that compares them.
            batch: on the same device.
            moment: the place in the training.
            outputs: what the student predicts from these maps with the batch's targets; None: predicted when a method
                reads it.
            task: the student's loss on labels (), from which the scale is found if it is `auto`.
        Returns:
            The weighted sum over levels, a scalar, and its parts for display, scalars without gradient: each term
            unweighted and summed over levels, and the weighted total of each level.
        """
        raise NotImplementedError


class Distiller(Distillation):
    """Runs the parts of the teacher that the method reads, and computes the method's loss.

    Teacher and student may be different detectors; a `RescaledDetector` teacher gets the image at its own size. Both
    get the same pixels: RGB, normalised as for ImageNet. For a teacher that was trained with another normalisation
    (mmdetection's caffe style: BGR, standard deviation 1), the import of its weights has folded the difference into its
    first convolution. The method may also compare both on other pictures of the same images. The student runs on such a
    picture only if the method reads its maps; in training mode its batch normalisation then learns from both pictures.

    The module's parameters are only the method's. The teacher is frozen and always in eval mode. It is not a submodule,
    so it is neither in `parameters()` nor in `state_dict()`: no optimiser changes it, and no checkpoint contains it. If
    all weights of the method are zero, or its schedule is at zero, the teacher does not run.

    Args:
        maps: sources of the teacher's maps, by the picture that the student sees; default: `teacher` itself.
        picture: what the teacher sees in place of the image.
        classes: for each class of the student the teacher's, or None if the teacher lacks it. Default: both have the
            same classes in the same order.
    Raises:
        SpecError: the method does not suit the pair, for example because the pyramids have no common stride.
    """

    def __init__(
        self,
        method: AnyMethod,
        student: Detector,
        teacher: Detector,
        maps: Mapping[str, TeacherMaps] | None = None,
        *,
        picture: str = IMAGE,
        classes: Sequence[int | None] | None = None,
    ) -> None:
        super().__init__()
        teacher.eval().requires_grad_(requires_grad=False)
        # Neither these nor the student are submodules: the method's parameters are the only ones of this module.
        self._own = OwnTeacher(teacher, with_stages=method.compares_stages)
        self._maps = {name: (maps or {}).get(name, self._own) for name in (IMAGE, *method.pictures)}
        self._seen = {name: picture if name == IMAGE else name for name in self._maps}
        self._networks = _Networks(student, teacher)
        is_dense = student.region_head is None and teacher.region_head is None
        self._shared = shared_classes(classes) if is_dense else None
        self._order = class_order(classes, teacher.num_classes) if self._shared is None else self._shared.teacher
        self._method = method
        self.pool_labels: PoolLabels | None = None
        """Labels the images of a pool; None without a pool."""
        self._ahead: _Ahead | None = None
        # Only then: the checkpoints of other runs have no such state.
        self.auto_scale = AutoScale() if method.scale == "auto" else None
        # Checkpoints hold the parameters of the method under this name.
        self.losses = METHODS[type(method)](method, side_of(student), self._teacher_side(classes))

    def _teacher_side(self, classes: Sequence[int | None] | None) -> Side:
        student, teacher = self._networks
        shares = teacher.num_classes == student.num_classes if classes is None else None not in classes
        return side_of(teacher)._replace(shares_classes=shares or self._shared is not None)

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
        if self._method.weighs_nothing:
            return []
        return list(self.losses.advice(self._teacher_view(batch, IMAGE)))

    def take_news(self) -> list[ScaleChosen]:
        """Return the scale that was found, if that is new."""
        return self.auto_scale.take_news() if self.auto_scale is not None else []

    def compile_parts(self) -> None:
        """Compile the teacher's maps and the method's losses."""
        for each in self._maps.values():
            if isinstance(each, OwnTeacher):
                each.compile_maps()
        self.losses.compile_losses()

    @property
    def has_fixed_scale(self) -> bool:
        """Whether the method's scale is a number without a schedule."""
        return self.auto_scale is None and self._method.scale_schedule is None

    def labelled(self, batch: Batch) -> Batch:
        """Return a batch of a pool with the boxes that the teacher is sure of."""
        assert self.pool_labels is not None, "a training with a pool has labels for it"
        # Not the maps that other runs share: those are of labelled batches.
        maps = self._own.maps(batch)
        self._ahead = _Ahead(batch.images, maps)
        return self.pool_labels.labelled(batch, maps[: len(self._networks.teacher.levels)])

    def forward(
        self,
        student_maps: Sequence[Tensor],
        batch: Batch,
        moment: Moment,
        outputs: Outputs | None = None,
        task: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the loss from the student's maps, each (N, C, H, W); see `Distillation.forward`."""
        return self.compare(self.student_views(student_maps, batch, outputs), batch, moment, task)

    def student_views(
        self, student_maps: Sequence[Tensor], batch: Batch, outputs: Outputs | None = None
    ) -> Mapping[str, View]:
        """Return the student's views by picture; its maps on the image, each (N, C, H, W), are given."""
        student = self._networks.student
        others = {
            name: _student_view(student, batch, partial(student.all_maps, each))
            for name, each in batch.pictures.items()
        }
        return {IMAGE: _student_view(student, batch, lambda: student_maps, outputs), **others}

    def compare(
        self, student: Mapping[str, View], batch: Batch, moment: Moment, task: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the loss and its parts as `forward` does, all scalars (), from the student's views by picture."""
        total = batch.images.new_zeros((), dtype=torch.float32)
        scale = scale_at(self._method, moment)
        if self._method.weighs_nothing or not scale:
            return at_rest(total, self), {**self._shown(torch.full_like(total, scale)), "distill/total": total}
        places = self.losses(self._lesson(student, batch, moment))
        # `full_like` and not `new_tensor`: the host would wait until the number is on the device.
        factor = torch.full_like(total, scale) if self.auto_scale is None else self._found(places, scale, moment, task)
        parts = self._shown(factor)
        for place, terms in places.items():
            weighed = terms.scaled(scale if self.auto_scale is None else factor)
            total = total + weighed
            parts[f"distill/{place}"] = weighed.detach()
            for term, value in terms.parts.items():
                parts[f"distill/{term}"] = parts.get(f"distill/{term}", 0) + value.detach()
        parts["distill/total"] = total.detach()
        return total, parts

    def _found(self, places: Mapping[str, Terms], scale: float, moment: Moment, task: Tensor | None) -> Tensor:
        """Return the scale () of a step that is found from the losses."""
        assert self.auto_scale is not None and task is not None, "an automatic scale needs the task's loss"
        # No places are left if the schedules of all parts of a mixture have ended.
        whole = sum((terms.total.detach() for terms in places.values()), start=task.new_zeros(()))
        factor: Tensor = scale * self.auto_scale(task, whole, moment)
        return factor

    def _shown(self, scale: Tensor) -> dict[str, Tensor]:
        """Return the scale () as a part of the loss, if it may change."""
        return {} if self.has_fixed_scale else {"distill/scale": scale.detach()}

    def _lesson(self, student: Mapping[str, View], batch: Batch, moment: Moment) -> Lesson:
        lessons = {
            name: Lesson(
                student=view if self._shared is None else _sharing(view, self._shared, batch),
                teacher=self._teacher_view(batch, name),
                targets=batch.targets,
                input_size=(batch.images.shape[2], batch.images.shape[3]),
                moment=moment,
            )
            for name, view in student.items()
            if name in self._maps
        }
        return replace(lessons.pop(IMAGE), others=lessons)

    def _teacher_view(self, batch: Batch, picture: str) -> View:
        teacher, order, maps = self._networks.teacher, self._order, self._maps[picture]

        @torch.no_grad()
        def predict(maps: Sequence[Tensor]) -> Outputs:
            outputs = teacher.predict(maps, batch.image_sizes)
            return outputs if order is None else order.outputs(outputs)

        def compute() -> Sequence[Tensor]:
            if batch.is_labelled:
                return maps.maps(batch.showing(self._seen[picture]))
            ahead, self._ahead = self._ahead, None
            return ahead.maps if ahead is not None and ahead.images is batch.images else self._own.maps(batch)

        return View(
            compute,
            predict,
            num_levels=len(teacher.levels),
            dense_head=teacher.dense_head,
            region_head=teacher.region_head if order is None else order.region_head(teacher.region_head),
        )


def side_of(detector: Detector) -> Side:
    """Describe a student or a teacher to a method."""
    head = detector.region_head
    return Side(
        detector.levels,
        detector.num_classes,
        detector.scale,
        has_regions=head is not None,
        vector_size=detector.levels[0].channels if head is None else head.vector_size,
        stages=detector.stages,
    )


def at_rest(total: Tensor, module: nn.Module) -> Tensor:
    """Return a loss () whose module weighs nothing; several ranks wait for the gradients of all parameters."""
    return total + zero_of(module) if world_size() > 1 and any(True for _ in module.parameters()) else total


class _Ahead(NamedTuple):
    """Holds the teacher's maps of a batch that was labelled and is not compared yet."""

    images: Tensor
    """(N, 3, H, W), which identify the batch."""
    maps: Sequence[Tensor]


class _Networks(NamedTuple):
    """A tuple, because a module would register a detector as a submodule."""

    student: Detector
    teacher: Detector


def _sharing(student: View, shared: SharedClasses, batch: Batch) -> View:
    """Show a dense student with the classes only that its teacher shares."""

    def outputs(_: Sequence[Tensor]) -> Outputs:
        found = student.outputs
        assert isinstance(found, DenseOutputs), "only dense detectors share a part of their classes"
        return shared.of_student(found, batch.labels)

    return View(
        lambda: student.maps,
        outputs,
        num_levels=student.num_levels,
        dense_head=student.dense_head,
        region_head=student.region_head,
    )


def _student_view(
    student: Detector, batch: Batch, maps: Callable[[], Sequence[Tensor]], outputs: Outputs | None = None
) -> View:
    """Show a student by its maps, each (N, C, H, W), and by its outputs, which are predicted if they are not given."""

    def predict(pyramid: Sequence[Tensor]) -> Outputs:
        return student.predict(pyramid, batch.image_sizes, batch.targets) if outputs is None else outputs

    return View(
        maps,
        predict,
        num_levels=len(student.levels),
        dense_head=student.dense_head,
        region_head=student.region_head,
    )
