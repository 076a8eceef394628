"""Decides whether a submitted job is accepted, from facts that the caller has looked up; gives all reasons at once."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import PurePath
from typing import Literal, TypeAlias

from pydantic import JsonValue

from fgd_core.errors import AdmissionError
from fgd_core.spec.checkpoint_references import (
    CheckpointReference,
    checkpoint_artifact,
    checkpoint_sources,
    parse_reference,
)
from fgd_core.spec.data import Coco, DataSpec, Registered, Shapes, Voc, Yolo, files_of, pictures_of
from fgd_core.spec.detectors import AnyDetector
from fgd_core.spec.events import JobState
from fgd_core.spec.jobs import JobSpec, data_by_path, data_of
from fgd_core.spec.kinds.chain import ChainSpec
from fgd_core.spec.kinds.check_data import CheckDataSpec
from fgd_core.spec.kinds.derive_data import DeriveDataSpec
from fgd_core.spec.kinds.distill import DistillSpec, needed_pictures
from fgd_core.spec.kinds.evaluate import EvaluateSpec
from fgd_core.spec.kinds.export import ExportSpec
from fgd_core.spec.kinds.sweep import SweepSpec, TrialBase
from fgd_core.spec.kinds.teacher import Teacher, teacher_detector, with_teacher
from fgd_core.spec.kinds.train import TrainSpec
from fgd_core.spec.pretrained import implied_detector, is_torchvision_name, misfits
from fgd_core.spec.refusals import bounded, closest
from fgd_core.spec.resources import Resources
from fgd_core.spec.views import ProblemReason
from service.jobs import confinement, sweep_admission, sweep_space
from service.jobs.cluster import Capacity
from service.jobs.confinement import ANYWHERE, Places
from service.jobs.keypoint_admission import keypoint_reasons
from service.jobs.queueing import amount
from service.jobs.sweep_admission import EarlierSweep
from service.jobs.training_admission import training_reasons

PathKind: TypeAlias = Literal["file", "folder"]

_CHECKPOINTS_BY_KIND = {"best": ("train", "distill", "chain", "sweep"), "last": ("train", "distill")}
"""Checkpoint -> the kinds of job that write it."""


@dataclass(frozen=True)
class NamedPath:
    """A file or folder that a spec names, with its path in the spec."""

    loc: str
    path: str
    kind: PathKind
    may_be_missing: bool = False


@dataclass(frozen=True)
class NeededJob:
    """A job that the spec refers to."""

    kind: str
    state: JobState
    artifacts: frozenset[str]
    detector: AnyDetector | None = None
    """The detector in its checkpoints; None if its spec cannot be read."""


@dataclass(frozen=True, kw_only=True)
class NamedData:
    """What the database knows about the name of a data set."""

    known: Sequence[str] = ()
    """The data sets of the project, if none has this name."""
    refused_for: str | None = None
    """Why its newest check refused it."""
    made_by: str | None = None
    """The unfinished job that makes its pictures."""
    has_keypoints: bool | None = None
    """Whether its newest check found keypoints to learn; None if that is unknown."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """The facts that admission needs: the caller reads them from the database, the cluster and the disk."""

    capacity: Capacity | None = None
    """None if the cluster did not answer: then nothing is refused for its resources."""
    paths: Mapping[str, PathKind | None] | None = None
    """What is at each path; None if runs see other disks than the server."""
    places: Places = ANYWHERE
    jobs: Mapping[str, NeededJob] = field(default_factory=dict)
    earlier: Mapping[str, EarlierSweep] = field(default_factory=dict)
    """The jobs that `fork` and `warm_start` name."""
    named_data: NamedData | None = None
    """None if the spec itself says where its data is."""
    more_named: Mapping[str, NamedData] = field(default_factory=dict)
    """Likewise of further data sets, by the path of the field; those whose place the spec says are missing."""
    tune_searchers: Sequence[str] = ()
    """The classes that a searcher of type `tune` may name."""


def paths(spec: JobSpec) -> list[NamedPath]:
    """List the files and folders that the spec names."""
    prefix, trained = ("base.", spec.base) if isinstance(spec, SweepSpec) else ("", spec)
    found = list(
        data_paths(trained.data, f"{prefix}data", both_splits=not isinstance(trained, EvaluateSpec | ExportSpec))
    )
    if isinstance(spec, EvaluateSpec):
        for name, data in spec.more_data.items():
            found += data_paths(data, f"more_data.{name}", both_splits=False)
    if isinstance(spec, DeriveDataSpec):
        found.append(NamedPath("folder", spec.folder, "folder", may_be_missing=True))
    for loc, source in checkpoint_sources(spec):
        if not source.startswith("job:") and not is_torchvision_name(source):
            found.append(NamedPath(loc, source, "file"))
    return found


def data_paths(data: DataSpec, loc: str, *, both_splits: bool = True) -> Iterator[NamedPath]:
    """List the files and folders of a data set; those of a registered one at the path of its name.

    Args:
        loc: path of the data in the spec.
    """
    if isinstance(data, Registered):
        files = files_of(data)
        if files is not None:
            yield from (replace(item, loc=f"{loc}.name") for item in data_paths(files, loc, both_splits=both_splits))
        return
    match data:
        case Coco():
            for name, split in (("train", data.train), ("val", data.val)) if both_splits else (("val", data.val),):
                yield NamedPath(f"{loc}.{name}.images", split.images, "folder")
                yield NamedPath(f"{loc}.{name}.annotations", split.annotations, "file")
        case Voc():
            yield NamedPath(f"{loc}.folder", data.folder, "folder")
        case Yolo():
            yield NamedPath(f"{loc}.data_yaml", data.data_yaml, "file")
            if data.root is not None:
                yield NamedPath(f"{loc}.root", data.root, "folder")
    for name, folders in data.pictures.items():
        for of_split, folder in (("train", folders.train), ("val", folders.val)):
            if folder is not None and (both_splits or of_split == "val"):
                yield NamedPath(f"{loc}.pictures.{name}.{of_split}", folder, "folder")


def references(spec: JobSpec) -> list[tuple[str, CheckpointReference]]:
    """List (path of the field, reference) for each reference that can be parsed."""
    found = []
    for loc, source in checkpoint_sources(spec):
        try:
            reference = parse_reference(source)
        except ValueError:
            continue
        if reference is not None:
            found.append((loc, reference))
    return found


def reasons(spec: JobSpec, facts: Facts) -> list[ProblemReason]:
    """List why this job is refused; it is accepted if the list is empty."""
    return [*own_reasons(spec, facts), *job_reasons(spec, facts)]


def own_reasons(spec: JobSpec, facts: Facts) -> list[ProblemReason]:
    """List the reasons that do not depend on other jobs. For a wide sweep this takes a second."""
    has_keypoints = facts.named_data.has_keypoints if facts.named_data is not None else None
    found = [
        *_resources(spec, facts),
        *_one_process(spec),
        *_named_data(spec, facts),
        *_paths(spec, facts),
        *_of_each(spec, _weights),
        *_of_each(spec, _batch),
        *_of_each(spec, training_reasons),
        *_of_each(spec, _pictures),
        *_of_each(spec, partial(keypoint_reasons, found=has_keypoints)),
    ]
    if isinstance(spec, SweepSpec):
        found += sweep_admission.reasons(spec, _rules(spec), tune_searchers=facts.tune_searchers)
    return found


def job_reasons(spec: JobSpec, facts: Facts) -> list[ProblemReason]:
    """List the reasons that depend on the jobs that the spec refers to."""
    found = [*_checkpoints(spec, facts), *_of_each(spec, lambda each: _method(each, facts.jobs))]
    if isinstance(spec, SweepSpec):
        found += sweep_admission.earlier_reasons(spec, facts.earlier)
    return found


def check(reasons: Sequence[ProblemReason]) -> None:
    """Refuse a job that has reasons against it.

    Raises:
        AdmissionError: there are reasons; it holds as many as a person can read.
    """
    if reasons:
        shown = bounded(reasons)
        raise AdmissionError(
            "; ".join(f"{reason.loc}: {reason.message}" for reason in shown),
            reasons=[reason.model_dump() for reason in shown],
        )


def trial_reasons(spec: SweepSpec, values: Mapping[str, JsonValue]) -> list[ProblemReason]:
    """List why this sweep cannot have a trial with these values."""
    return sweep_space.trial_reasons(spec.base, values, _rules(spec))


def _rules(spec: SweepSpec) -> sweep_space.TrialRules:
    """The rules that a trial can break while its base does not."""
    accepted, reported = _named(spec.base), [*_of_trial(spec.base, spec.resources)]

    def rules(trial: TrialBase) -> Iterator[ProblemReason]:
        # Without this a search over file names would read unchecked files, and wait for no job.
        for loc, name in _named(trial).items():
            if accepted.get(loc) != name:
                message = (
                    f"some trials would read {name!r}, but all trials read what the base names; name it in the base"
                )
                yield ProblemReason(loc=loc, code="other_file", message=message)
        yield from (reason for reason in _of_trial(trial, spec.resources) if reason not in reported)

    return rules


def _of_trial(trial: TrialBase, resources: Resources) -> Iterator[ProblemReason]:
    trial = trial.model_copy(update={"resources": resources})
    yield from (*_weights(trial), *_batch(trial), *training_reasons(trial), *_method(trial, {}), *_pictures(trial))


def _named(spec: TrialBase) -> dict[str, str]:
    """Everything that a training reads, by field."""
    return {item.loc: item.path for item in paths(spec)} | dict(checkpoint_sources(spec))


def waits_for(spec: JobSpec, facts: Facts) -> list[str]:
    """List the jobs that must succeed before an accepted job can start."""
    needed = dict.fromkeys(reference.job_id for _, reference in references(spec))
    return [job_id for job_id in needed if facts.jobs[job_id].state != "succeeded"]


def _resources(spec: JobSpec, facts: Facts) -> Iterator[ProblemReason]:
    if facts.capacity is None:
        return
    per_worker = [*_more_than_a_node(spec.resources, facts.capacity)]
    yield from per_worker or _no_room_for_all(spec.resources, facts.capacity)


def _more_than_a_node(asked_for: Resources, capacity: Capacity) -> Iterator[ProblemReason]:
    """What one worker asks for and no node has, not even one that the cluster can add."""
    for index, name in enumerate(("cpus", "gpus")):
        available = max((shape[index] for shape in capacity.shapes), default=0.0)
        asked: int = getattr(asked_for, name)
        if asked > available:
            what = name[:-1].upper() + "s"
            cure = "add such a node to the Ray cluster" if not available else f"ask for at most {available:g}"
            if name == "gpus" and not available:
                cure = "set resources.gpus to 0 to run on the CPU, or add a node with a GPU to the Ray cluster"
            yield ProblemReason(
                loc=f"resources.{name}",
                code="resources_unavailable",
                message=f"the job needs {asked} {what} on one node, and the largest node has {available:g}; {cure}",
            )


def _no_room_for_all(asked: Resources, capacity: Capacity) -> Iterator[ProblemReason]:
    """Workers that never fit at the same time, judged by the sizes of the nodes and not by their sum."""
    room, each = capacity.all_slots(asked.cpus, asked.gpus), amount(asked.cpus, asked.gpus)
    if not room:
        message = f"no node has {each}; ask for fewer CPUs, set resources.gpus to 0, or add such a node"
        yield ProblemReason(loc="resources", code="resources_unavailable", message=message)
    elif room < asked.least_workers:
        name = "workers" if asked.min_workers is None else "min_workers"
        message = (
            f"the job needs {asked.least_workers} workers of {each}, each on one node, and the nodes have room for "
            f"{room}; ask for at most {room}, for smaller workers, or add nodes to the Ray cluster"
        )
        yield ProblemReason(loc=f"resources.{name}", code="resources_unavailable", message=message)


def _one_process(spec: JobSpec) -> Iterator[ProblemReason]:
    workers = spec.resources.workers
    if workers > 1 and not isinstance(spec, TrainSpec | DistillSpec | ChainSpec | SweepSpec):
        message = f"a job of kind {spec.kind!r} runs in one process, but workers is {workers}; leave it out"
        yield ProblemReason(loc="resources.workers", code="one_process", message=message)


def _checkpoints(spec: JobSpec, facts: Facts) -> Iterator[ProblemReason]:
    for loc, source in checkpoint_sources(spec):
        try:
            reference = parse_reference(source)
        except ValueError as error:
            yield ProblemReason(loc=loc, code="bad_reference", message=str(error))
            continue
        if reference is None:
            continue
        job = facts.jobs.get(reference.job_id)
        if job is None:
            message = f"there is no job {reference.job_id!r}; `fgd jobs` lists all jobs"
            yield ProblemReason(loc=loc, code="unknown_job", message=message)
        elif job.kind not in _CHECKPOINTS_BY_KIND.get(reference.name, ()):
            message = (
                f"job {reference.job_id} is of kind {job.kind!r} and writes no checkpoint {reference.name!r}; "
                "refer to the `best` of a sweep or a chain, or to a training"
            )
            yield ProblemReason(loc=loc, code="no_checkpoint", message=message)
        elif job.state in ("failed", "cancelled"):
            message = f"job {reference.job_id} is {job.state}; submit it again and refer to the new job"
            yield ProblemReason(loc=loc, code="dependency_failed", message=message)
        elif job.state == "succeeded" and checkpoint_artifact(reference.name) not in job.artifacts:
            message = f"job {reference.job_id} wrote no checkpoint {reference.name!r}; submit it again"
            yield ProblemReason(loc=loc, code="no_checkpoint", message=message)


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
    trained = spec.base if isinstance(spec, SweepSpec) else spec
    if named is None or named.made_by is None or not isinstance(trained, TrainSpec | DistillSpec):
        return None
    if not isinstance(data, Registered) or not needed_pictures(trained):
        return None
    message = (
        f"job {named.made_by} still makes the pictures of {data.name!r}; wait for it with "
        f"`fgd watch {named.made_by}`, and submit this job again"
    )
    return ProblemReason(loc=f"{loc}.name", code="unfinished_data", message=message)


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


def _weights(spec: JobSpec) -> Iterator[ProblemReason]:
    """Names of torchvision's weights that do not fit the detector of the spec."""
    match spec:
        case SweepSpec():
            for reason in _weights(spec.base):
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


def _method(spec: JobSpec, jobs: Mapping[str, NeededJob]) -> Iterator[ProblemReason]:
    """What the method of the spec needs and its pair has not got."""
    prefix, distilled = ("base.", spec.base) if isinstance(spec, SweepSpec) else ("", spec)
    if isinstance(distilled, DistillSpec):
        for of_teacher, teacher in distilled.teachers.items():
            for unmet in distilled.method.unmet(distilled.student, _teacher(teacher, jobs)):
                loc = with_teacher(unmet.loc, of_teacher)
                if loc == unmet.loc and teacher is not distilled.teacher:
                    continue  # The student is the same for all teachers.
                yield ProblemReason(loc=f"{prefix}{loc}", code="method_unsuited", message=unmet.message)


def _teacher(teacher: Teacher, jobs: Mapping[str, NeededJob]) -> AnyDetector | None:
    """Return the teacher's detector; None if only a file knows it."""
    known = {f"job:{job_id}/{name}": job.detector for job_id, job in jobs.items() for name in _CHECKPOINTS_BY_KIND}
    return teacher_detector(teacher) or known.get(teacher.checkpoint)


def _pictures(spec: JobSpec) -> Iterator[ProblemReason]:
    """Pictures that a distillation reads and that the data does not name."""
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


def _batch(spec: JobSpec) -> Iterator[ProblemReason]:
    prefix, trained = ("base.", spec.base) if isinstance(spec, SweepSpec) else ("", spec)
    if not isinstance(trained, TrainSpec | DistillSpec) or not isinstance(files := files_of(trained.data), Shapes):
        return
    asked, available = trained.training.batch_size, files.num_train
    if asked > available:
        message = f"a batch of {asked} images is larger than the data set of {available}; use at most {available}"
        yield ProblemReason(loc=f"{prefix}training.batch_size", code="batch_too_large", message=message)


def _of_each(spec: JobSpec, rule: Callable[[JobSpec], Iterable[ProblemReason]]) -> list[ProblemReason]:
    """List the reasons of a rule; those against a chain are the reasons against its stages, each once."""
    if not isinstance(spec, ChainSpec):
        return [*rule(spec)]
    found: list[ProblemReason] = []
    for index in range(len(spec.stages)):
        for reason in rule(spec.stage(index, position=0, weights=None)):
            placed = reason.model_copy(update={"loc": spec.place(index, reason.loc)})
            if placed not in found:
                found.append(placed)
    return found
