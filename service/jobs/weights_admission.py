"""Refuses names of torchvision's weights that do not fit the detector of the spec."""

from collections.abc import Iterator

from fgd_core.spec.detectors import AnyDetector
from fgd_core.spec.jobs import JobSpec
from fgd_core.spec.kinds.derive_data import DeriveDataSpec
from fgd_core.spec.kinds.distill import DistillSpec
from fgd_core.spec.kinds.evaluate import EvaluateSpec
from fgd_core.spec.kinds.export import ExportSpec
from fgd_core.spec.kinds.sweep import SweepSpec
from fgd_core.spec.kinds.teacher import Teacher
from fgd_core.spec.kinds.train import TrainSpec
from fgd_core.spec.pretrained import implied_detector, is_torchvision_name, misfits
from fgd_core.spec.views import ProblemReason


def weight_reasons(spec: JobSpec) -> Iterator[ProblemReason]:
    """Yield which weights do not fit."""
    match spec:
        case SweepSpec():
            for reason in weight_reasons(spec.base):
                yield reason.model_copy(update={"loc": f"base.{reason.loc}"})
        case TrainSpec():
            yield from _unfit(spec.detector, spec.detector.weights, "detector")
        case DistillSpec():
            yield from _unfit(spec.student, spec.student.weights, "student")
            for loc, teacher in spec.teachers.items():
                yield from _weights_of_teacher(f"{loc}.", teacher)
        case DeriveDataSpec():
            yield from _weights_of_teacher("teacher.", spec.teacher)
        case EvaluateSpec():
            yield from _weights_of_teacher("", spec.source())
        case ExportSpec() if is_torchvision_name(spec.checkpoint):
            message = "an export needs a checkpoint of fgd; train or distil from these weights first"
            yield ProblemReason(loc="checkpoint", code="no_checkpoint", message=message)


def _weights_of_teacher(prefix: str, teacher: Teacher) -> Iterator[ProblemReason]:
    name = teacher.checkpoint
    if teacher.detector is not None:
        yield from _unfit(teacher.detector, name, f"{prefix}detector")
    if is_torchvision_name(name) and implied_detector(name) is None:
        message = f"{name} is not a whole detector of torchvision that fgd knows, and this must be one"
        yield ProblemReason(loc=f"{prefix}checkpoint", code="no_detector", message=message)


def _unfit(settings: AnyDetector, weights: str | None, loc: str) -> Iterator[ProblemReason]:
    for misfit in misfits(settings, weights) if weights is not None else []:
        message = f"the weights {weights} belong to another detector: {misfit}"
        yield ProblemReason(loc=f"{loc}.{misfit.loc}", code="weights_unfit", message=message)
