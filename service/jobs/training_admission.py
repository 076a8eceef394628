"""Refuses trainings whose options do not suit their resources, or a sweep."""

import math
from collections.abc import Iterator

from fgd_core.spec.data import Voc, files_of
from fgd_core.spec.jobs import JobSpec
from fgd_core.spec.kinds.distill import DistillSpec
from fgd_core.spec.kinds.sweep import SweepSpec
from fgd_core.spec.kinds.train import TrainSpec
from fgd_core.spec.resources import Resources
from fgd_core.spec.training import TrainingSpec
from fgd_core.spec.views import ProblemReason

_ENDS = ("early_stop", "budget", "average_last")
"""Options that decide how a training ends; in a sweep, its scheduler and its budget do."""


def training_reasons(spec: JobSpec) -> Iterator[ProblemReason]:
    """Yield why a training cannot run with its options."""
    prefix, trained = ("base.", spec.base) if isinstance(spec, SweepSpec) else ("", spec)
    if not isinstance(trained, TrainSpec | DistillSpec):
        return
    for reason in (*_shares(trained.training, spec.resources), *_gpus(trained.training, spec.resources)):
        yield reason.model_copy(update={"loc": f"{prefix}training.{reason.loc}"})
    for reason in _masks(trained):
        yield reason.model_copy(update={"loc": f"{prefix}{reason.loc}"})
    if isinstance(spec, SweepSpec):
        yield from _ends(trained.training)


def _shares(training: TrainingSpec, resources: Resources) -> Iterator[ProblemReason]:
    """Check that workers can have equal shares of a batch, and each share equal parts."""
    batch_size, unit = training.batch_size, resources.images_unit * training.accumulate
    if not batch_size % unit:
        return
    workers = " and ".join(map(str, sorted({resources.workers, resources.least_workers}, reverse=True)))
    parts = f" in {training.accumulate} equal parts each" if training.accumulate > 1 else " evenly"
    message = (
        f"{workers} workers cannot share a batch of {batch_size} images{parts}; use a multiple of {unit}, for "
        f"example {math.ceil(batch_size / unit) * unit}, or other resources.workers"
    )
    yield ProblemReason(loc="batch_size", code="uneven_shards", message=message)


def _gpus(training: TrainingSpec, resources: Resources) -> Iterator[ProblemReason]:
    if resources.gpus:
        return
    if training.precision == "float16":
        message = "float16 needs a GPU, and the job has none; set resources.gpus to 1, or precision to bfloat16"
        yield ProblemReason(loc="precision", code="needs_gpu", message=message)
    if training.budget is not None and training.budget.gpu_h is not None:
        message = "a budget of GPU hours limits nothing without a GPU; set resources.gpus to 1, or use budget.wall_h"
        yield ProblemReason(loc="budget.gpu_h", code="needs_gpu", message=message)


def _masks(trained: TrainSpec | DistillSpec) -> Iterator[ProblemReason]:
    """Check that the data can have the masks that a change of the images needs; only the run knows whether it has."""
    files = files_of(trained.data)
    if not isinstance(files, Voc):
        return
    for index, augment in enumerate(trained.input.augment):
        if augment.needs_masks:
            message = (
                f"{augment.type} needs a mask of every object, and fgd reads none from {files.type} data; leave it "
                "out, or convert the data to COCO format with segmentations"
            )
            yield ProblemReason(loc=f"input.augment.{index}", code="no_masks", message=message)


def _ends(training: TrainingSpec) -> Iterator[ProblemReason]:
    for name in _ENDS:
        if getattr(training, name) is not None:
            message = f"a sweep ends its trials by its scheduler and its budget; leave out {name} here, or use it in a "
            cure = "job of kind train or distill"
            yield ProblemReason(loc=f"base.training.{name}", code="ends_trials", message=message + cure)
