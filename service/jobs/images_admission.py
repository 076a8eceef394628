"""Refuses distillations that compare images with each other and see only one at a time."""

from collections.abc import Iterator, Mapping

from fgd_core.spec.dimensions import Choice, Dimension
from fgd_core.spec.jobs import JobSpec
from fgd_core.spec.kinds.distill import DistillSpec
from fgd_core.spec.kinds.sweep import SweepSpec
from fgd_core.spec.kinds.teacher import teacher_detector
from fgd_core.spec.methods.base import AnyMethod, Unmet
from fgd_core.spec.views import ProblemReason
from service.jobs import sweep_space

_CODE = "too_few_images"
_BATCH = "training.batch_size"


def images_reasons(spec: JobSpec) -> Iterator[ProblemReason]:
    """Yield why the method teaches nothing with the images that a worker sees at a time."""
    prefix, distilled = ("base.", spec.base) if isinstance(spec, SweepSpec) else ("", spec)
    if not isinstance(distilled, DistillSpec):
        return
    training = distilled.training
    # Fewer workers of an elastic job have larger shares.
    num_images = training.batch_size // (spec.resources.workers * training.accumulate)
    unmet = [*_unmet(distilled.method, num_images)]
    for each in unmet:
        yield ProblemReason(loc=f"{prefix}{each.loc}", code=_CODE, message=each.message)
    if isinstance(spec, SweepSpec) and spec.baselines and not unmet:
        published = distilled.method.published(distilled.student, teacher_detector(distilled.teacher))
        for each in _unmet(published, num_images):
            message = f"in the baseline with the published values, {each.message}; or set baselines to false"
            yield ProblemReason(loc="baselines", code=_CODE, message=message)


def _unmet(method: AnyMethod, num_images: int) -> Iterator[Unmet]:
    if not method.weighs_nothing:
        yield from method.unmet_by_images(num_images)


def smallest_batch_reasons(
    spec: SweepSpec, space: Mapping[str, Dimension], rules: sweep_space.TrialRules
) -> Iterator[ProblemReason]:
    """Yield which choices of the method do not suit the smallest batch of the space, although each alone suits."""
    smallest = _smallest(space.get(_BATCH))
    if smallest is None or smallest >= spec.base.training.batch_size:
        return
    for path, dimension in space.items():
        if path.partition(".")[0] != "method" or not isinstance(dimension, Choice):
            continue
        for index, value in enumerate(dimension.values):
            for reason in sweep_space.trial_reasons(spec.base, {_BATCH: smallest, path: value}, rules):
                if reason.code == _CODE:
                    message = f"{_BATCH} {smallest}: {reason.message}"
                    yield ProblemReason(loc=f"space.{path}.values.{index}", code=_CODE, message=message)


def _smallest(dimension: Dimension | None) -> int | None:
    values = dimension.values if isinstance(dimension, Choice) else [dimension.low] if dimension is not None else []
    return min((value for value in values if isinstance(value, int)), default=None)
