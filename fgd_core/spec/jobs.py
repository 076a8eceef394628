"""Jobs: the specs that users submit, of any kind."""

from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

from pydantic import Field, TypeAdapter, ValidationError

from fgd_core.spec.data import DataSpec
from fgd_core.spec.detectors import AnyDetector
from fgd_core.spec.kinds.chain import ChainSpec
from fgd_core.spec.kinds.check_data import CheckDataSpec
from fgd_core.spec.kinds.derive_data import DeriveDataSpec
from fgd_core.spec.kinds.distill import DistillSpec
from fgd_core.spec.kinds.evaluate import EvaluateSpec
from fgd_core.spec.kinds.export import ExportSpec
from fgd_core.spec.kinds.study import StudySpec
from fgd_core.spec.kinds.sweep import SweepSpec
from fgd_core.spec.kinds.train import TrainSpec

SPEC_VERSION = 1
JobSpec: TypeAlias = Annotated[
    TrainSpec
    | DistillSpec
    | ChainSpec
    | EvaluateSpec
    | ExportSpec
    | CheckDataSpec
    | DeriveDataSpec
    | SweepSpec
    | StudySpec,
    Field(discriminator="kind"),
]
JOB_SPEC: TypeAdapter[JobSpec] = TypeAdapter(JobSpec)


def data_of(spec: JobSpec) -> tuple[str, DataSpec]:
    """Return the path of the field with the job's data, and the data."""
    return ("base.data", spec.base.data) if isinstance(spec, SweepSpec | StudySpec) else ("data", spec.data)


def data_by_path(spec: JobSpec) -> dict[str, DataSpec]:
    """Return the job's data, and then its further data sets, by the path of their fields."""
    loc, data = data_of(spec)
    more = spec.more_data if isinstance(spec, EvaluateSpec) else {}
    return {loc: data, **{_path_of_more(name): each for name, each in more.items()}}


def with_data(spec: JobSpec, data: Mapping[str, DataSpec]) -> JobSpec:
    """Return a copy of the job with other data at all paths of `data_by_path`."""
    own = {"data": data[data_of(spec)[0]]}
    match spec:
        case SweepSpec() | StudySpec():
            return spec.model_copy(update={"base": spec.base.model_copy(update=own)})
        case EvaluateSpec():
            more = {name: data[_path_of_more(name)] for name in spec.more_data}
            return spec.model_copy(update={**own, "more_data": more})
        case _:
            return spec.model_copy(update=own)


def _path_of_more(name: str) -> str:
    return f"more_data.{name}"


def written_detector(spec: Mapping[str, Any]) -> AnyDetector | None:
    """Return the detector in the checkpoints of a stored job; None if it has none, or is of a newer version."""
    try:
        job = JOB_SPEC.validate_python(spec)
    except ValidationError:
        return None
    base = job.base if isinstance(job, SweepSpec) else job
    if isinstance(base, DistillSpec | ChainSpec):
        return base.student
    return base.detector if isinstance(base, TrainSpec) else None
