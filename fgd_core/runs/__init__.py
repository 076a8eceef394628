"""The entry points of the library: train, distil, evaluate, check data. Only this package assembles the parts."""

import importlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

import torch
import torch.distributed as dist

from fgd_core.data import resolved_data
from fgd_core.data.image_groups import check_contents, image_groups
from fgd_core.detectors.base import Detector
from fgd_core.detectors.rescaled import at_input_scale
from fgd_core.detectors.weights import inherit
from fgd_core.detectors.weights.classes import match_classes
from fgd_core.detectors.weights.sources import LoadedTeacher, load_teacher
from fgd_core.errors import LostRunError, OutOfMemoryError, SpecError
from fgd_core.evaluation.inspection import Training, inspect
from fgd_core.evaluation.worst_images import ShownTeacher
from fgd_core.ranks import world_size
from fgd_core.runs.chain import run_chain
from fgd_core.runs.deriving import derive_data
from fgd_core.runs.opening import evaluator_for, judged, open_split
from fgd_core.runs.pool import pool_labels
from fgd_core.runs.rank_context import RankContext
from fgd_core.runs.training_run import TrainingRun
from fgd_core.spec.data import IMAGE, InputSpec, Registered
from fgd_core.spec.events import Evaluated, RunFinished, WeightsLoaded
from fgd_core.spec.jobs import JobSpec
from fgd_core.spec.kinds.chain import ChainSpec
from fgd_core.spec.kinds.check_data import CheckDataSpec
from fgd_core.spec.kinds.derive_data import DeriveDataSpec
from fgd_core.spec.kinds.distill import DistillSpec
from fgd_core.spec.kinds.evaluate import EvaluateSpec
from fgd_core.spec.kinds.export import ExportSpec
from fgd_core.spec.kinds.study import StudySpec
from fgd_core.spec.kinds.sweep import SweepSpec
from fgd_core.spec.kinds.teacher import Teacher, teacher_detector, with_teacher
from fgd_core.spec.kinds.train import TrainSpec
from fgd_core.spec.plans import DistillationPlanned
from fgd_core.spec.results import ErrorReport
from fgd_core.stopping import Stopped, checking_for_stop
from fgd_core.training.checkpoints import SavedTraining
from fgd_core.training.context import RunContext
from fgd_core.training.distiller import Distiller
from fgd_core.training.machine import choose_machine, seed_everything
from fgd_core.training.several_teachers import WeightedTeacher, mean_of

_Export: TypeAlias = Callable[[ExportSpec, RunContext], RunFinished]


def execute(spec: JobSpec, context: RunContext) -> RunFinished:
    """Run a job to its end; return the outcome, which is also the final event.

    Every error becomes the outcome `failed` with its report, so that it reaches the user. When the context asks to
    stop, the outcome is `stopped`, in every phase of the run.

    In a `torch.distributed` process group of several processes, call it in each of them: they train together, and all
    return the same outcome. Rank 0 alone reports events, asks its context whether to stop, and writes files. The other
    ranks use their contexts to find checkpoints only. On a GPU, set the current device before. If the outcome is not
    `succeeded`, the process group is gone afterwards.
    """
    if world_size() == 1:
        finished = _outcome(spec, context)
    else:
        context = RankContext(context)
        finished = context.end(_outcome(spec, context))
    context.emit(finished)
    return finished


def _outcome(spec: JobSpec, context: RunContext) -> RunFinished:
    try:
        with checking_for_stop(context.should_stop):
            finished = _run(spec, context)
    except Stopped:
        finished = RunFinished(outcome="stopped")
    except Exception as error:
        # Whatever fails, the user must get a report, and the run its final event.
        finished = RunFinished(outcome="failed", error=_report(error))
    return finished


def _run(spec: JobSpec, context: RunContext) -> RunFinished:
    match spec:
        case TrainSpec():
            return train(spec, context)
        case DistillSpec():
            return distill(spec, context)
        case ChainSpec():
            return chain(spec, context)
        case EvaluateSpec():
            return evaluate(spec, context)
        case CheckDataSpec():
            return check_data(spec, context)
        case DeriveDataSpec():
            return derive_data(spec, context)
        case ExportSpec():
            # By name: onnx and onnxruntime take long to import, and no other job needs them.
            export: _Export = importlib.import_module("fgd_core.runs.exporting").export
            return export(spec, context)
        case SweepSpec():
            raise SpecError(f"{spec.name} is a sweep, whose trials need a Ray cluster; submit it to a server")
        case StudySpec():
            raise SpecError(f"{spec.name} is a study, whose runs are jobs of a server; submit it to one")


def train(spec: TrainSpec, context: RunContext) -> RunFinished:
    """Train a detector on labels only; resumes from a checkpoint in the context's folder, if there is one.

    Raises:
        FgdError: see `fgd_core.errors`.
    """
    run = TrainingRun(spec, context)
    detector = run.build(spec.detector, role="detector")
    return run.fit(spec.detector, detector, None, run.saved_training())


def distill(spec: DistillSpec, context: RunContext) -> RunFinished:
    """Train a student that imitates a frozen teacher; the teacher's AP is checked before the first step.

    Raises:
        TeacherError: the teacher's classes differ from the data's, or its AP is too low.
        FgdError: see `fgd_core.errors`.
    """
    run, student, taught, saved = _prepared(spec, context)
    # After every other initialisation, which would otherwise overwrite it.
    inherited = _inherited(spec, run, student, taught[0].teacher)
    if inherited is not None:
        context.emit(inherited)
    context.emit(_planned(spec, student, taught, inherited))
    first = taught[0]
    first.distiller.pool_labels = pool_labels(run, spec.pool, first.teacher, first.rescaled)
    distillation = mean_of([WeightedTeacher(each.distiller, each.settings.weight) for each in taught])
    run.warn_of(distillation)
    return run.fit(spec.student, student, distillation, saved, [*_shown(run, taught)])


def chain(spec: ChainSpec, context: RunContext) -> RunFinished:
    """Distil several teachers into one student, one after another; goes on after the last stage that is done.

    Raises:
        TeacherError: a teacher's classes differ from the data's, or its AP is too low.
        FgdError: see `fgd_core.errors`.
    """
    return run_chain(spec, context, distill=distill, check=_checked_teachers)


def evaluate(spec: EvaluateSpec, context: RunContext) -> RunFinished:
    """Score a trained detector on the validation splits of one or more data sets.

    Raises:
        WeightsError: the classes of the detector and of the data differ.
        FgdError: see `fgd_core.errors`.
    """
    seed_everything(spec.seed)
    machine = choose_machine(spec.resources, "float32")
    context.emit(machine.describe())
    loaded = load_teacher(spec.source(), resolve=context.resolve_checkpoint)
    context.emit(loaded.event.model_copy(update={"role": "detector"}))
    settings = loaded.checkpoint.detector if loaded.checkpoint is not None else teacher_detector(spec.source())
    assert settings is not None, "a loaded detector has settings"
    opened = {name: open_split(data, "val", context, settings) for name, data in spec.more_data.items()}
    dataset = open_split(spec.data, "val", context, settings)
    check_contents(dataset, spec.evaluation.expected)
    groups = image_groups(spec.data, dataset, spec.evaluation.attributes)
    detectors = [judged(loaded, each, spec.checkpoint, machine) for each in (dataset, *opened.values())]
    input_spec = spec.input or (loaded.checkpoint.input if loaded.checkpoint is not None else InputSpec())
    more_scores = {}
    for detector, (name, each) in zip(detectors[1:], opened.items(), strict=True):
        with evaluator_for(each, input_spec, spec.batch_size, machine, context, what=name) as evaluator:
            more_scores[name] = evaluator.scores(detector)
    with evaluator_for(dataset, input_spec, spec.batch_size, machine, context) as evaluator:
        scores = evaluator.scores(detectors[0])
        context.emit(Evaluated(epoch=None, step=None, scores=scores))
        result = evaluator.result(
            detectors[0],
            scores,
            folder=context.job_dir,
            device_name=machine.name,
            altered=spec.evaluation.altered,
            groups=groups,
        )
    return RunFinished(outcome="succeeded", result=result.model_copy(update={"more_scores": more_scores}))


def check_data(spec: CheckDataSpec, context: RunContext) -> RunFinished:
    """Check a data set and save samples of it.

    Raises:
        DataError: a training on the data would be refused.
        FgdError: see `fgd_core.errors`.
    """
    context.emit(choose_machine(spec.resources, "float32").describe())
    # A check does not compare the data with an earlier check, so only the place of the data is needed.
    data = resolved_data(spec.data) if isinstance(spec.data, Registered) else spec.data
    training = Training(spec.input, spec.seed) if spec.input is not None else None
    inspect(data, num_samples=spec.num_samples, folder=context.job_dir, emit=context.emit, training=training)
    return RunFinished(outcome="succeeded")


class _Prepared(NamedTuple):
    """Holds a distillation whose teachers are checked; its student has its initial weights and inherits nothing yet."""

    run: TrainingRun
    student: Detector
    taught: list["_Taught"]
    saved: SavedTraining | None


def _prepared(spec: DistillSpec, context: RunContext) -> _Prepared:
    run = TrainingRun(spec, context)
    student = run.build(spec.student, role="student")
    teachers = [run.load_teacher(each) for each in spec.teachers.values()]
    # These checks come before the gate, because the gate takes a whole evaluation.
    _check_method(spec, teachers)
    taught = [_taught(run, spec, student, *each) for each in zip(spec.teachers.values(), teachers, strict=True)]
    saved = run.saved_training()
    for number, each in enumerate(taught, start=1):
        run.check_teacher(each.settings, each.teacher, each.rescaled, number)
    return _Prepared(run, student, taught, saved)


def _checked_teachers(spec: DistillSpec, context: RunContext) -> list[Detector]:
    """Check what `distill` checks before its first step; return the teachers at their input scales."""
    run, student, taught, _ = _prepared(spec, context)
    _inherited(spec, run, student, taught[0].teacher)
    return [each.rescaled for each in taught]


def _inherited(spec: DistillSpec, run: TrainingRun, student: Detector, teacher: LoadedTeacher) -> WeightsLoaded | None:
    """Copy the inherited part of the teacher's weights into the student; return None if it inherits nothing."""
    if spec.inherit == "nothing":
        return None
    return inherit(
        student,
        teacher.detector,
        spec.inherit,
        source=spec.teacher.checkpoint,
        student_classes=run.classes,
        teacher_classes=teacher.classes,
    )


class _Taught(NamedTuple):
    """Holds one teacher and what distils it."""

    settings: Teacher
    teacher: LoadedTeacher
    rescaled: Detector
    """The teacher's detector at its input scale."""
    distiller: Distiller


def _taught(
    run: TrainingRun, spec: DistillSpec, student: Detector, settings: Teacher, teacher: LoadedTeacher
) -> _Taught:
    rescaled = at_input_scale(teacher.detector, settings.input_scale)
    maps = run.shared_maps(settings, rescaled, (IMAGE, *spec.method.pictures))
    classes = match_classes(teacher.classes, run.classes).sources(len(run.classes))
    distiller = Distiller(spec.method, student, rescaled, maps, picture=settings.picture or IMAGE, classes=classes)
    return _Taught(settings, teacher, rescaled, distiller)


def _shown(run: TrainingRun, taught: Sequence[_Taught]) -> Iterator[ShownTeacher]:
    for number, each in enumerate(taught, start=1):
        if each.settings.picture is not None and each.settings.gate == "keys":
            continue  # Without the gate, the validation split need not have the teacher's pictures.
        name = "teacher" if len(taught) == 1 else f"teacher {number}"
        yield run.shown_teacher(each.settings, each.teacher, each.rescaled, name)


def _planned(
    spec: DistillSpec, student: Detector, taught: Sequence[_Taught], inherited: WeightsLoaded | None
) -> DistillationPlanned:
    first, *others = (
        DistillationPlanned(
            student=type(student).__name__,
            teacher=type(each.teacher.detector).__name__,
            method=spec.method.type,
            is_idle=spec.method.weighs_nothing,
            weight=each.settings.weight,
            input_scale=each.settings.input_scale,
            levels=each.distiller.planned_levels,
            compares=[*each.distiller.losses.compares()],
            inherit="nothing",
        )
        for each in taught
    )
    found = (
        {}
        if inherited is None
        else {
            "num_inherited": inherited.num_matched,
            "num_inheritable": inherited.num_total,
            "not_inherited": [*inherited.missing, *inherited.mismatched],
        }
    )
    return first.model_copy(update={"inherit": spec.inherit, "more_teachers": others, **found})


def _check_method(spec: DistillSpec, teachers: Sequence[LoadedTeacher]) -> None:
    unmet = {}
    for (of_teacher, settings), loaded in zip(spec.teachers.items(), teachers, strict=True):
        detector = loaded.checkpoint.detector if loaded.checkpoint is not None else teacher_detector(settings)
        for each in spec.method.unmet(spec.student, detector):
            unmet[with_teacher(each.loc, of_teacher)] = each.message
    if unmet:
        raise SpecError("; ".join(f"{loc}: {message}" for loc, message in unmet.items()), fields=[*unmet])


def _report(error: Exception) -> ErrorReport:
    if _is_out_of_memory(error):
        error = OutOfMemoryError(
            "memory ran out; lower training.batch_size or the input size, or ask for a larger device", cause=str(error)
        ).with_traceback(error.__traceback__)
    elif _is_of_a_lost_rank(error):
        error = LostRunError(
            "a process that trains this job together with others ended; the next attempt resumes from the newest "
            "checkpoint",
            cause=str(error),
        ).with_traceback(error.__traceback__)
    return ErrorReport.of(error)


def _is_out_of_memory(error: Exception) -> bool:
    # PyTorch's CPU allocator raises a plain RuntimeError, which begins with the place in its source.
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError) and "DefaultCPUAllocator: " in str(error)
    )


def _is_of_a_lost_rank(error: Exception) -> bool:
    # Gloo raises a plain RuntimeError that begins with the place in its source.
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "/gloo/transport/" in str(error))
