"""The entry points of the library: train, distil, evaluate, check data. Only this package assembles the parts."""

import torch

from fgd_core.data import resolved_data
from fgd_core.data.samples import DetectionDataset
from fgd_core.detectors.base import Detector
from fgd_core.detectors.rescaled import at_input_scale
from fgd_core.detectors.weights import inherit
from fgd_core.detectors.weights.checkpoint import DetectorCheckpoint, read_checkpoint
from fgd_core.detectors.weights.sources import LoadedTeacher
from fgd_core.errors import OutOfMemoryError, SpecError, WeightsError
from fgd_core.evaluation.inspection import inspect
from fgd_core.runs.opening import evaluator_for, open_split
from fgd_core.runs.training_run import TrainingRun
from fgd_core.spec.data import IMAGE, Registered
from fgd_core.spec.events import Evaluated, RunFinished, WeightsLoaded
from fgd_core.spec.jobs import CheckDataSpec, DistillSpec, EvaluateSpec, JobSpec, TrainSpec, teacher_detector
from fgd_core.spec.plans import DistillationPlanned
from fgd_core.spec.results import ErrorReport
from fgd_core.stopping import Stopped, checking_for_stop
from fgd_core.training.context import RunContext
from fgd_core.training.distiller import Distiller
from fgd_core.training.machine import choose_machine, seed_everything


def execute(spec: JobSpec, context: RunContext) -> RunFinished:
    """Run a job to its end; return the outcome, which is also the final event.

    Every error becomes the outcome `failed` with its report, so that it reaches the user. When the context asks to
    stop, the outcome is `stopped`, in every phase of the run.
    """
    try:
        with checking_for_stop(context.should_stop):
            match spec:
                case TrainSpec():
                    finished = train(spec, context)
                case DistillSpec():
                    finished = distill(spec, context)
                case EvaluateSpec():
                    finished = evaluate(spec, context)
                case CheckDataSpec():
                    finished = check_data(spec, context)
    except Stopped:
        finished = RunFinished(outcome="stopped")
    except Exception as error:
        # Whatever fails, the user must get a report, and the run its final event.
        finished = RunFinished(outcome="failed", error=_report(error))
    context.emit(finished)
    return finished


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
    run = TrainingRun(spec, context)
    student = run.build(spec.student, role="student")
    teacher = run.load_teacher(spec.teacher)
    rescaled = at_input_scale(teacher.detector, spec.teacher.input_scale)
    # These checks come before the gate, because the gate takes a whole evaluation.
    _check_method(spec, teacher)
    maps = run.shared_maps(spec.teacher, rescaled, (IMAGE, *spec.method.pictures))
    distiller = Distiller(spec.method, student, rescaled, maps, picture=spec.teacher.picture or IMAGE)
    saved = run.saved_training()
    run.check_teacher(spec.teacher, teacher, rescaled)
    inherited: WeightsLoaded | None = None
    if spec.inherit != "nothing":
        # After every other initialisation, which would otherwise overwrite it.
        inherited = inherit(
            student,
            teacher.detector,
            spec.inherit,
            source=spec.teacher.checkpoint,
            student_classes=run.classes,
            teacher_classes=teacher.classes,
        )
        context.emit(inherited)
    context.emit(_planned(spec, distiller, student, teacher.detector, inherited))
    run.warn_of(distiller)
    return run.fit(spec.student, student, distiller, saved)


def evaluate(spec: EvaluateSpec, context: RunContext) -> RunFinished:
    """Score a checkpoint on the validation split.

    Raises:
        WeightsError: the classes of the checkpoint and of the data differ.
        FgdError: see `fgd_core.errors`.
    """
    seed_everything(spec.seed)
    machine = choose_machine(spec.resources, "float32")
    context.emit(machine.describe())
    checkpoint, _ = read_checkpoint(context.resolve_checkpoint(spec.checkpoint))
    dataset = open_split(spec.data, "val", context, checkpoint.detector)
    detector, loaded = checkpoint.build("detector", spec.checkpoint)
    context.emit(loaded)
    _check_classes(checkpoint, dataset, spec.checkpoint)
    detector.to(machine.device).eval()
    with evaluator_for(dataset, spec.input or checkpoint.input, spec.batch_size, machine, context) as evaluator:
        scores = evaluator.scores(detector)
        context.emit(Evaluated(epoch=None, step=None, scores=scores))
        result = evaluator.result(detector, scores, folder=context.job_dir, device_name=machine.name)
    return RunFinished(outcome="succeeded", result=result)


def check_data(spec: CheckDataSpec, context: RunContext) -> RunFinished:
    """Check a data set and save samples of it.

    Raises:
        DataError: a training on the data would be refused.
        FgdError: see `fgd_core.errors`.
    """
    context.emit(choose_machine(spec.resources, "float32").describe())
    # A check does not compare the data with an earlier check, so only the place of the data is needed.
    data = resolved_data(spec.data) if isinstance(spec.data, Registered) else spec.data
    inspect(data, num_samples=spec.num_samples, folder=context.job_dir, emit=context.emit)
    return RunFinished(outcome="succeeded")


def _planned(
    spec: DistillSpec, distiller: Distiller, student: Detector, teacher: Detector, inherited: WeightsLoaded | None
) -> DistillationPlanned:
    return DistillationPlanned(
        student=type(student).__name__,
        teacher=type(teacher).__name__,
        method=spec.method.type,
        is_idle=spec.method.weighs_nothing,
        input_scale=spec.teacher.input_scale,
        levels=distiller.planned_levels,
        compares=[*distiller.losses.compares()],
        inherit=spec.inherit,
        num_inherited=inherited.num_matched if inherited is not None else 0,
        num_inheritable=inherited.num_total if inherited is not None else 0,
        not_inherited=[*inherited.missing, *inherited.mismatched] if inherited is not None else [],
    )


def _check_method(spec: DistillSpec, teacher: LoadedTeacher) -> None:
    detector = teacher.checkpoint.detector if teacher.checkpoint is not None else teacher_detector(spec.teacher)
    unmet = [*spec.method.unmet(spec.student, detector)]
    if unmet:
        raise SpecError("; ".join(f"{each.loc}: {each.message}" for each in unmet), fields=[each.loc for each in unmet])


def _check_classes(checkpoint: DetectorCheckpoint, dataset: DetectionDataset, source: str) -> None:
    in_checkpoint = [category.name for category in checkpoint.categories]
    in_data = [category.name for category in dataset.categories]
    if in_checkpoint != in_data:
        raise WeightsError(
            f"the checkpoint has {len(in_checkpoint)} classes and the data {len(in_data)}; they must be the same in "
            "the same order; train a detector on the classes of this data",
            checkpoint=source,
            only_in_checkpoint=[*sorted(set(in_checkpoint) - set(in_data))[:10]],
            only_in_data=[*sorted(set(in_data) - set(in_checkpoint))[:10]],
        )


def _report(error: Exception) -> ErrorReport:
    if _is_out_of_memory(error):
        error = OutOfMemoryError(
            "memory ran out; lower training.batch_size or the input size, or ask for a larger device", cause=str(error)
        ).with_traceback(error.__traceback__)
    return ErrorReport.of(error)


def _is_out_of_memory(error: Exception) -> bool:
    # PyTorch's CPU allocator raises a plain RuntimeError.
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError) and "not enough memory" in str(error)
    )
