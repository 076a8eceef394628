"""Refuses data that is unknown, missing, outside of the folders that jobs may read, or too small."""

from collections.abc import Iterable, Iterator
from pathlib import PurePath

from fgd_core.spec.data import Registered, Shapes, files_of, pictures_of
from fgd_core.spec.jobs import JobSpec, data_by_path, data_of
from fgd_core.spec.kinds.check_data import CheckDataSpec
from fgd_core.spec.kinds.distill import DistillSpec, needed_pictures, pool_faults
from fgd_core.spec.kinds.study import StudySpec
from fgd_core.spec.kinds.sweep import SweepSpec
from fgd_core.spec.kinds.train import TrainSpec
from fgd_core.spec.refusals import closest
from fgd_core.spec.views import ProblemReason
from service.jobs import confinement
from service.jobs.admission_facts import Facts, NamedData
from service.jobs.named_paths import NamedPath, paths


def data_reasons(spec: JobSpec, facts: Facts) -> Iterator[ProblemReason]:
    """Yield why the job cannot have its data, or may not read one of its files."""
    yield from _named_data(spec, facts)
    yield from _paths(spec, facts)


def path_reasons(named: Iterable[NamedPath], facts: Facts) -> Iterator[ProblemReason]:
    """Yield why jobs may not read these paths, or cannot."""
    for item in named:
        malformed = confinement.malformed(item.loc, item.path)
        if malformed is not None:
            yield malformed
        elif not PurePath(item.path).is_absolute():
            message = f"{item.path!r} is relative, and the server does not know its base; write the full path"
            yield ProblemReason(loc=item.loc, code="relative_path", message=message)
        elif (outside := confinement.outside(item.loc, item.path, facts.places)) is not None:
            yield outside
        elif facts.paths is not None:
            found = facts.paths[item.path]
            if found is None and item.may_be_missing:
                continue
            if found is None:
                message = f"there is no {item.kind} {item.path!r}; correct the path"
                yield ProblemReason(loc=item.loc, code="missing_path", message=message)
            elif found != item.kind:
                message = f"{item.path!r} is a {found}, but this must be a {item.kind}"
                yield ProblemReason(loc=item.loc, code="wrong_path", message=message)


def picture_reasons(spec: JobSpec) -> Iterator[ProblemReason]:
    """Yield the pictures that a distillation reads and that the data does not name."""
    prefix, distilled = ("base.", spec.base) if isinstance(spec, SweepSpec) else ("", spec)
    if not isinstance(distilled, DistillSpec) or files_of(distilled.data) is None:
        return
    named = pictures_of(distilled.data)
    for name in needed_pictures(distilled):
        if name not in named:
            message = (
                f"the job reads the picture {name!r} of each image, and the data names "
                f"{', '.join(sorted(named)) or 'no pictures'}; add data.pictures.{name}"
            )
            yield ProblemReason(loc=f"{prefix}data.pictures", code="missing_picture", message=message)
        elif (
            (folders := named[name]) is not None
            and folders.val is None
            and any(each.picture == name and each.gate == "ap" for each in distilled.teachers.values())
        ):
            message = (
                f"the teacher's AP is measured on the picture {name!r}, and it has no folder for the validation split; "
                f"set data.pictures.{name}.val, or set teacher.gate to keys"
            )
            yield ProblemReason(loc=f"{prefix}data.pictures.{name}.val", code="missing_picture", message=message)


def pool_reasons(spec: JobSpec) -> Iterator[ProblemReason]:
    """Yield why a distillation cannot use the pool of its data."""
    prefix, distilled = ("base.", spec.base) if isinstance(spec, SweepSpec) else ("", spec)
    if isinstance(distilled, DistillSpec):
        for fault in pool_faults(distilled):
            yield ProblemReason(loc=f"{prefix}data.pool", code="unsuited_pool", message=fault)


def batch_reasons(spec: JobSpec) -> Iterator[ProblemReason]:
    """Yield a batch that is larger than the data set, or than the share of it that a training shows."""
    prefix, trained = ("base.", spec.base) if isinstance(spec, SweepSpec) else ("", spec)
    if not isinstance(trained, TrainSpec | DistillSpec) or not isinstance(files := files_of(trained.data), Shapes):
        return
    asked, available = trained.training.batch_size, trained.input.sampling.num_shown(files.num_train)
    if asked > available:
        message = (
            f"a batch of {asked} images is larger than the {available} images to train on; use at most {available}"
        )
        yield ProblemReason(loc=f"{prefix}training.batch_size", code="batch_too_large", message=message)


def _named_data(spec: JobSpec, facts: Facts) -> Iterator[ProblemReason]:
    known = {data_of(spec)[0]: facts.named_data, **facts.more_named}
    for loc, data in data_by_path(spec).items():
        named = known.get(loc)
        if isinstance(data, Registered) and named is not None:
            yield from _unusable(spec, loc, data, named)


def _unusable(spec: JobSpec, loc: str, data: Registered, named: NamedData) -> Iterator[ProblemReason]:
    """Yield why a job cannot use a registered data set."""
    if data.resolved is None:
        nearest = closest(data.name, named.known) if named.known else "it has none yet; `fgd data add` adds one"
        message = f"the project {spec.project!r} has no data set {data.name!r}; {nearest}"
        yield ProblemReason(loc=f"{loc}.name", code="unknown_dataset", message=message)
    elif named.refused_for is not None and not isinstance(spec, CheckDataSpec):
        message = (
            f"the newest check refused {data.name!r}; repair the data and check it again "
            f"with `fgd data check {data.name}`: {named.refused_for}"
        )
        yield ProblemReason(loc=f"{loc}.name", code="refused_data", message=message)


def _paths(spec: JobSpec, facts: Facts) -> Iterator[ProblemReason]:
    """Paths of the spec that a job may not read, or cannot; and pictures that another job still makes."""
    unfinished = _unfinished_pictures(spec, facts.named_data)
    for reason in path_reasons(paths(spec), facts):
        # The folder is not missing because of its path.
        if unfinished is None or (reason.loc, reason.code) != (unfinished.loc, "missing_path"):
            yield reason
    if unfinished is not None:
        yield unfinished


def _unfinished_pictures(spec: JobSpec, named: NamedData | None) -> ProblemReason | None:
    loc, data = data_of(spec)
    trained = spec.base if isinstance(spec, SweepSpec | StudySpec) else spec
    if named is None or named.made_by is None or not isinstance(trained, TrainSpec | DistillSpec):
        return None
    if not isinstance(data, Registered) or not needed_pictures(trained):
        return None
    message = (
        f"job {named.made_by} still makes the pictures of {data.name!r}; wait for it with "
        f"`fgd watch {named.made_by}`, and submit this job again"
    )
    return ProblemReason(loc=f"{loc}.name", code="unfinished_data", message=message)
