"""The methods that a job distils with, as tables show them."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from fgd_core.spec.jobs import JobSpec
from fgd_core.spec.kinds.chain import ChainSpec
from fgd_core.spec.kinds.distill import DistillSpec
from fgd_core.spec.methods.base import MethodPart


class AppliedMethod(NamedTuple):
    """A method, or a part of one, and the teacher whose outputs it imitates."""

    stage: str
    """Of a chain: `1`, `2`, … in the order of training; `?` before the run knows the order. Otherwise empty."""
    teacher: str
    """The checkpoint."""
    share: float
    """Of the teacher's loss in the mean over the teachers of the job or of the stage, in [0, 1]."""
    part: MethodPart


def applied_methods(spec: JobSpec, order: Sequence[int] | None = None) -> list[AppliedMethod]:
    """Return each part of each method with each teacher; empty if the job is no distillation and no chain.

    Args:
        order: positions of a chain's stages in its spec, in the order of training; None: the run has not reported it.
    """
    match spec:
        case DistillSpec():
            return [*_of_each_teacher(spec)]
        case ChainSpec():
            return [*_of_each_stage(spec, range(len(spec.stages)) if spec.order == "given" else order)]
    return []


def _of_each_teacher(spec: DistillSpec) -> Iterator[AppliedMethod]:
    whole = sum(teacher.weight for teacher in spec.teachers.values())
    for teacher in spec.teachers.values():
        for part in spec.method.parts_for(spec.student):
            yield AppliedMethod("", teacher.checkpoint, teacher.weight / whole, part)


def _of_each_stage(spec: ChainSpec, order: Sequence[int] | None) -> Iterator[AppliedMethod]:
    for position, index in enumerate(order if order is not None else range(len(spec.stages)), start=1):
        stage = spec.stages[index]
        for part in (stage.method or spec.method).parts_for(spec.student):
            yield AppliedMethod("?" if order is None else str(position), stage.teacher.checkpoint, 1.0, part)
