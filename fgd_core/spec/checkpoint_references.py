"""The checkpoints that a job reads: paths, names of weights, and references to other jobs."""

import re
from typing import Literal

from fgd_core.spec.base import Command
from fgd_core.spec.jobs import JobSpec
from fgd_core.spec.kinds.chain import ChainSpec
from fgd_core.spec.kinds.derive_data import DeriveDataSpec
from fgd_core.spec.kinds.distill import DistillSpec
from fgd_core.spec.kinds.evaluate import EvaluateSpec
from fgd_core.spec.kinds.export import ExportSpec
from fgd_core.spec.kinds.study import StudySpec
from fgd_core.spec.kinds.study_types import WhyStudy
from fgd_core.spec.kinds.sweep import SweepSpec
from fgd_core.spec.kinds.train import TrainSpec

_REFERENCE = re.compile(r"^job:(?P<job_id>[A-Za-z0-9_-]+)/(?P<name>best|last)$")


class CheckpointReference(Command):
    """A parsed reference `job:<id>/best` or `job:<id>/last`."""

    job_id: str
    name: Literal["best", "last"]

    def __str__(self) -> str:
        return f"job:{self.job_id}/{self.name}"


def checkpoint_sources(spec: JobSpec) -> list[tuple[str, str]]:
    """Return where `spec` takes checkpoints from, as (path of the field, its value); empty fields are left out.

    A value is a path, a reference `job:<id>/<name>` or, for a detector's weights, a name of torchvision's weights.
    """
    sources: list[tuple[str, str | None]] = []
    match spec:
        case TrainSpec():
            sources = [("detector.weights", spec.detector.weights)]
        case DistillSpec():
            of_teachers = [(f"{loc}.checkpoint", each.checkpoint) for loc, each in spec.teachers.items()]
            sources = [("student.weights", spec.student.weights), *of_teachers]
        case ChainSpec():
            teachers = [
                (f"stages.{i}.teacher.checkpoint", each.teacher.checkpoint) for i, each in enumerate(spec.stages)
            ]
            sources = [("student.weights", spec.student.weights), *teachers]
        case EvaluateSpec() | ExportSpec():
            sources = [("checkpoint", spec.checkpoint)]
        case DeriveDataSpec():
            sources = [("teacher.checkpoint", spec.teacher.checkpoint)]
        case SweepSpec() | StudySpec():
            sources = [(f"base.{loc}", source) for loc, source in checkpoint_sources(spec.base)]
            if isinstance(spec, StudySpec) and isinstance(spec.study, WhyStudy):
                sources += [(f"study.teachers.{place}", source) for place, source in enumerate(spec.study.teachers)]
    return [(loc, source) for loc, source in sources if source is not None]


def parse_reference(source: str) -> CheckpointReference | None:
    """Return the reference in `source`; None if it is a path or a name of weights.

    Raises:
        ValueError: `source` begins with `job:` but is not a valid reference.
    """
    if not source.startswith("job:"):
        return None
    match_ = _REFERENCE.match(source)
    if match_ is None:
        raise ValueError(f"{source!r} is not a valid reference to a checkpoint; write job:<id>/best or job:<id>/last")
    return CheckpointReference.model_validate(match_.groupdict())


def checkpoint_references(spec: JobSpec) -> list[CheckpointReference]:
    """Return the checkpoints of other jobs that `spec` needs, each once, in the order of its fields.

    Raises:
        ValueError: a value begins with `job:` but is not a valid reference.
    """
    found: list[CheckpointReference] = []
    for _, source in checkpoint_sources(spec):
        reference = parse_reference(source)
        if reference is not None and reference not in found:
            found.append(reference)
    return found


def checkpoint_artifact(name: str) -> str:
    """Return the name of the artifact that holds the checkpoint `best` or `last` of a job."""
    return f"{name}.pt"
