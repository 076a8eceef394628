"""Checks all teachers of a chain before its first step, and measures their order if the spec asks for it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeAlias

import torch

from fgd_core.detectors.base import Detector
from fgd_core.errors import FgdError, SpecError
from fgd_core.methods.levels import match_levels
from fgd_core.runs.chain.stage_context import RecordedAps
from fgd_core.runs.training_run import TrainingRun
from fgd_core.spec.chains import TeachersOrdered
from fgd_core.spec.events import EvaluationProgress, RunEvent, TeacherChecked
from fgd_core.spec.kinds.chain import ChainSpec
from fgd_core.spec.kinds.distill import DistillSpec
from fgd_core.stopping import raise_if_stopped
from fgd_core.training.adaptation import AdaptationFit, backward_order
from fgd_core.training.context import RunContext

_NUM_BATCHES = 8
"""Batches of training images for the adaptation costs. A P3 level of one image at 800x1333 pixels has 16,800 cells."""


CheckTeachers: TypeAlias = Callable[[DistillSpec, RunContext], list[Detector]]


class Scaled(NamedTuple):
    """A detector at the scale of its input."""

    detector: Detector
    scale: float


@dataclass
class _Quiet:
    """The context of the checks: the stages themselves will report what they load."""

    parent: RunContext
    teacher_sharing: RecordedAps
    ap: float | None = field(default=None, init=False)
    """Of the newest checked teacher."""

    @property
    def job_dir(self) -> Path:
        return self.parent.job_dir

    def emit(self, event: RunEvent) -> None:
        if isinstance(event, TeacherChecked):
            self.ap = event.ap
        elif isinstance(event, EvaluationProgress):
            self.parent.emit(event)

    def should_stop(self) -> bool:
        return self.parent.should_stop()

    def resolve_checkpoint(self, source: str) -> Path:
        return self.parent.resolve_checkpoint(source)


def order_teachers(spec: ChainSpec, context: RunContext, sharing: RecordedAps, check: CheckTeachers) -> TeachersOrdered:
    """Check every teacher as its stage will, and put them in the order of training.

    A teacher that does not suit the student or the data thus ends the chain before hours of training, not after them.

    Args:
        check: checks the teachers of a distillation, and returns them at their input scales.
    Raises:
        FgdError: a teacher cannot be used; the message names its stage.
    """
    teachers, aps = [], []
    for index in range(len(spec.stages)):
        quiet = _Quiet(context, sharing)
        teacher = _checked(spec, index, quiet, check)
        aps.append(quiet.ap)
        # All teachers are in memory at once only if their maps must be compared.
        if spec.order == "adaptation_cost":
            teachers.append(teacher)
    names = [stage.teacher.checkpoint for stage in spec.stages]
    if spec.order == "given":
        return TeachersOrdered(by="given", order=list(range(len(names))), teachers=names, aps=aps)
    from_student, between = _costs(spec, _Quiet(context, sharing), teachers)
    order = backward_order([ap or 0.0 for ap in aps], [[_or_infinite(cost) for cost in row] for row in between])
    return TeachersOrdered(
        by="adaptation_cost", order=order, teachers=names, aps=aps, costs_from_student=from_student, costs=between
    )


def _checked(spec: ChainSpec, index: int, context: _Quiet, check: CheckTeachers) -> Scaled:
    """Check a teacher as its stage will."""
    try:
        stage = spec.stage(index, position=0, weights=None)
        if not _may_be_inherited_from(spec, index):
            stage = stage.model_copy(update={"inherit": "nothing"})
        (teacher,) = check(stage, context)
    except FgdError as error:
        error.details["stage"] = index
        error.message = f"stages.{index}: {error.message}"
        raise
    return Scaled(teacher, spec.stages[index].teacher.input_scale)


def _may_be_inherited_from(spec: ChainSpec, index: int) -> bool:
    """Return whether the student, or that of the control, may inherit from this teacher; its order may be unknown."""
    return spec.order != "given" or index == 0 or (spec.control and index == len(spec.stages) - 1)


def _costs(
    spec: ChainSpec, context: _Quiet, teachers: Sequence[Scaled]
) -> tuple[list[float | None], list[list[float | None]]]:
    """Measure the adaptation costs from the student to each teacher, and from each teacher to each other one."""
    run = TrainingRun(spec.stage(0, position=0, weights=None), context)
    student = Scaled(run.build(spec.student, role="student").to(run.machine.device).eval(), 1.0)
    detectors = [student, *teachers]
    fits = {
        (source, target): fit
        for source in range(len(detectors))
        for target in range(1, len(detectors))
        if source != target and (fit := _fit(detectors[source], detectors[target])) is not None
    }
    for batch in islice(run.loader.epoch(0), _NUM_BATCHES):
        raise_if_stopped()
        images = batch.to(run.machine.device).images
        with torch.no_grad():
            maps = [each.detector.features(images) for each in detectors]
        for (source, target), fit in fits.items():
            fit.add(maps[source], maps[target])
    run.loader.close()
    rows = [
        [fits[source, target].cost() if (source, target) in fits else None for target in range(1, len(detectors))]
        for source in range(len(detectors))
    ]
    return rows[0], rows[1:]


def _fit(source: Scaled, target: Scaled) -> AdaptationFit | None:
    """Return an empty fit; None if the two have no common level."""
    try:
        return AdaptationFit(match_levels(source.detector.levels, target.detector.levels, target.scale / source.scale))
    except SpecError:
        return None


def _or_infinite(cost: float | None) -> float:
    return float("inf") if cost is None else cost
