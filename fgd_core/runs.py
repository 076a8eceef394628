"""The front door of the library, and the only place that puts its parts together."""

import hashlib
import json
import traceback
from typing import Literal

import torch

from fgd_core.data import open_dataset
from fgd_core.data.loading import TrainLoader
from fgd_core.data.samples import DetectionDataset, check_same_categories
from fgd_core.detectors import build_detector
from fgd_core.detectors.base import Detector
from fgd_core.detectors.checkpoint import DetectorCheckpoint, Record, read_checkpoint
from fgd_core.detectors.weights import inherit_neck_and_head, load_torchvision, match_state
from fgd_core.errors import FgdError, OutOfMemoryError, TeacherError, WeightsError
from fgd_core.evaluation.judge import Judge
from fgd_core.spec.data import InputSpec
from fgd_core.spec.detectors import AnyDetector
from fgd_core.spec.events import Evaluated, RunFinished, TeacherChecked, Warned
from fgd_core.spec.jobs import DistillSpec, EvaluateSpec, JobSpec, Teacher, TrainSpec
from fgd_core.spec.results import ErrorReport, Scores
from fgd_core.training.context import RunContext
from fgd_core.training.distiller import Distiller
from fgd_core.training.machine import Machine, choose_machine
from fgd_core.training.seeding import seed_everything
from fgd_core.training.teacher_maps import SharesTeacher, TeacherMaps, TeacherSharing
from fgd_core.training.trainer import Trainer


def execute(spec: JobSpec, context: RunContext) -> RunFinished:
    """Run a job to its end, whatever that is; the outcome is returned and also the last event.

    An error becomes the outcome `failed` with its report, so that it reaches whoever asked for the job.
    """
    try:
        match spec:
            case TrainSpec():
                finished = train(spec, context)
            case DistillSpec():
                finished = distill(spec, context)
            case EvaluateSpec():
                finished = evaluate(spec, context)
    except Exception as error:
        finished = RunFinished(outcome="failed", error=_report(error))
    context.emit(finished)
    return finished


def train(spec: TrainSpec, context: RunContext) -> RunFinished:
    """Train a detector on labels alone; resumes by itself from the context's folder.

    Raises:
        FgdError: see `fgd_core.errors`.
    """
    bench = _Bench(spec, context)
    detector = bench.build(spec.detector, role="detector")
    return bench.fit(spec.detector, detector, None)


def distill(spec: DistillSpec, context: RunContext) -> RunFinished:
    """Train a student beside a frozen teacher that has first shown its skill.

    Raises:
        TeacherError: the teacher's classes are others, or it has lost its skill.
        FgdError: see `fgd_core.errors`.
    """
    bench = _Bench(spec, context)
    student = bench.build(spec.student, role="student")
    teacher = bench.load_teacher(spec.teacher)
    distiller = Distiller(spec.method, student, teacher, bench.shared_maps(spec.teacher, teacher))
    if spec.inherit == "neck_and_head":
        # After every other initialisation, which would else silently undo it.
        context.emit(inherit_neck_and_head(student, teacher, source=spec.teacher.checkpoint))
    bench.warn_of(distiller)
    return bench.fit(spec.student, student, distiller)


def evaluate(spec: EvaluateSpec, context: RunContext) -> RunFinished:
    """Score a checkpoint on a validation split.

    Raises:
        WeightsError: the checkpoint's classes are not those of the data.
        FgdError: see `fgd_core.errors`.
    """
    seed_everything(spec.seed)
    machine = choose_machine(spec.resources, "float32")
    context.emit(machine.describe())
    dataset = open_dataset(spec.data, "val")
    context.emit(dataset.checked)
    checkpoint, _ = read_checkpoint(context.resolve_checkpoint(spec.checkpoint))
    detector, loaded = checkpoint.build("detector", spec.checkpoint)
    context.emit(loaded)
    _check_classes(checkpoint, dataset, spec.checkpoint, WeightsError)
    judge = _judge(dataset, spec.input or checkpoint.input, spec.batch_size, machine, context)
    detector.to(machine.device).eval()
    scores = judge.scores(detector)
    context.emit(Evaluated(epoch=None, step=None, scores=scores))
    result = judge.result(detector, scores, folder=context.job_dir, device_name=machine.name)
    return RunFinished(outcome="succeeded", result=result)


class _Bench:
    """What training and distilling share: a machine, opened data, and the way from a detector to a result."""

    def __init__(self, spec: TrainSpec | DistillSpec, context: RunContext) -> None:
        self.spec, self.context = spec, context
        self.sharing: TeacherSharing | None = context.teacher_sharing if isinstance(context, SharesTeacher) else None
        seed_everything(spec.seed)
        self.machine = choose_machine(spec.resources, spec.training.precision)
        context.emit(self.machine.describe())
        train_data = open_dataset(spec.data, "train")
        context.emit(train_data.checked)
        self.train_fingerprint = train_data.fingerprint
        self.val_data = open_dataset(spec.data, "val")
        context.emit(self.val_data.checked)
        check_same_categories(train_data, self.val_data)
        self.loader = TrainLoader(
            train_data,
            spec.input,
            batch_size=spec.training.batch_size,
            seed=spec.seed,
            workers=spec.training.loader_workers,
        )

    def build(self, settings: AnyDetector, *, role: Literal["detector", "student"]) -> Detector:
        """A detector with the first weights that its spec names."""
        detector = build_detector(settings, len(self.val_data.categories))
        source = settings.weights
        if source is None:
            return detector
        if "_Weights." in source:
            self.context.emit(load_torchvision(detector, source, role=role))
            return detector
        checkpoint, _ = read_checkpoint(self.context.resolve_checkpoint(source))
        loaded = match_state(detector, checkpoint.state, role=role, source=source)
        self.context.emit(loaded)
        if loaded.num_matched == 0:
            raise WeightsError(
                f"none of the {loaded.num_total} keys match the checkpoint's; it holds another detector: "
                "use its settings, or set weights to null to start afresh",
                checkpoint=source,
                mismatched=[*loaded.mismatched[:5]],
            )
        return detector

    def load_teacher(self, settings: Teacher) -> Detector:
        """The teacher, after the gate: one that does not know its trade would quietly spoil the student."""
        source = settings.checkpoint
        checkpoint, _ = read_checkpoint(self.context.resolve_checkpoint(source))
        teacher, loaded = checkpoint.build("teacher", source)
        self.context.emit(loaded)
        teacher.to(self.machine.device).eval()
        if settings.gate == "keys":
            return teacher
        _check_classes(checkpoint, self.val_data, source, TeacherError)
        ap = self._teacher_ap(settings, teacher)
        record = checkpoint.record
        recorded_ap = record.scores.ap if record.scores is not None else None
        same_data = record.data_fingerprint == self.val_data.fingerprint
        self.context.emit(TeacherChecked(ap=ap, recorded_ap=recorded_ap, same_data=same_data))
        _judge_teacher(settings, ap, recorded_ap, same_data=same_data)
        return teacher

    def shared_maps(self, settings: Teacher, teacher: Detector) -> TeacherMaps | None:
        """The teacher's maps as runs with the same batches share them; None where nothing is shared."""
        if self.sharing is None:
            return None
        key = self._key_of_teacher(settings, self.train_fingerprint, self.spec.seed)
        return self.sharing.maps(key, teacher, self.loader)

    def _teacher_ap(self, settings: Teacher, teacher: Detector) -> float | None:
        def measure() -> float | None:
            return self._judge("the teacher").scores(teacher).ap

        if self.sharing is None:
            return measure()
        return self.sharing.ap(self._key_of_teacher(settings, self.val_data.fingerprint), measure)

    def _key_of_teacher(self, settings: Teacher, data_fingerprint: str, *more: int) -> str:
        """All that the teacher's output on this data follows from, to the bit."""
        with self.context.resolve_checkpoint(settings.checkpoint).open("rb") as file:
            weights = hashlib.file_digest(file, "sha256").hexdigest()
        spec = self.spec.model_dump(mode="json", include={"data": True, "input": True})
        machine = (self.machine.name, torch.get_num_threads(), str(self.machine.autocast_dtype), torch.__version__)
        parts = (weights, data_fingerprint, spec, self.spec.training.batch_size, *machine, *more)
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def warn_of(self, distiller: Distiller) -> None:
        """Say before hours of training that hyper-parameters do not suit this teacher."""
        batch = next(self.loader.epoch(0)).to(self.machine.device)
        advice = distiller.to(self.machine.device).advice(batch)
        if advice:
            self.context.emit(Warned(code="method_unsuited", message="; ".join(advice)))

    def fit(self, settings: AnyDetector, detector: Detector, distiller: Distiller | None) -> RunFinished:
        """Train to the end, or until the context asks to stop."""
        judge = self._judge("the validation split")

        def describe(scores: Scores | None, epoch: int, step: int) -> DetectorCheckpoint:
            return DetectorCheckpoint(
                # Where the first weights came from is history; whoever builds this detector again has these.
                detector=settings.model_copy(update={"weights": None}),
                categories=self.val_data.categories,
                input=self.spec.input,
                record=Record(scores=scores, data_fingerprint=self.val_data.fingerprint, epoch=epoch, step=step),
                state=detector.state_dict(),
            )

        trainer = Trainer(
            detector.to(self.machine.device),
            distiller.to(self.machine.device) if distiller is not None else None,
            self.loader,
            self.spec.training,
            self.context,
            evaluate=judge.scores,
            describe=describe,
            machine=self.machine,
        )
        trainer.resume()
        try:
            if not trainer.fit():
                return RunFinished(outcome="stopped")
        finally:
            self.loader.close()
        best, _ = read_checkpoint(trainer.checkpoints.best)
        detector.load_state_dict(best.state)
        detector.eval()
        assert best.record.scores is not None, "best.pt is written after an evaluation"
        result = judge.result(detector, best.record.scores, folder=self.context.job_dir, device_name=self.machine.name)
        update = {"best_epoch": best.record.epoch, "train_s": trainer.place.train_s}
        return RunFinished(outcome="succeeded", result=result.model_copy(update=update))

    def _judge(self, what: str) -> Judge:
        batch_size = self.spec.training.batch_size
        return _judge(self.val_data, self.spec.input, batch_size, self.machine, self.context, what=what)


def _judge(
    dataset: DetectionDataset,
    input_spec: InputSpec,
    batch_size: int,
    machine: Machine,
    context: RunContext,
    *,
    what: str = "the validation split",
) -> Judge:
    return Judge(
        dataset,
        input_spec,
        batch_size=batch_size,
        device=machine.device,
        autocast_dtype=machine.autocast_dtype,
        emit=context.emit,
        what=what,
    )


def _judge_teacher(settings: Teacher, ap: float | None, recorded_ap: float | None, *, same_data: bool) -> None:
    shown: dict[str, float | str | None] = {
        "checkpoint": settings.checkpoint,
        "ap": ap,
        "recorded_ap": recorded_ap,
        "max_ap_drop": settings.max_ap_drop,
    }
    if not ap:
        raise TeacherError(
            "the teacher finds nothing on the validation split, so there is nothing to learn from it; "
            "check its data and input size, or set teacher.gate to keys",
            **shown,
        )
    if same_data and recorded_ap is not None and ap < recorded_ap - settings.max_ap_drop:
        raise TeacherError(
            f"the teacher's AP is {ap:.3f} on the validation split where its checkpoint records {recorded_ap:.3f}; "
            "give it the input size it was trained with, or raise teacher.max_ap_drop",
            **shown,
        )


def _check_classes(
    checkpoint: DetectorCheckpoint, dataset: DetectionDataset, source: str, kind: type[WeightsError]
) -> None:
    theirs = [category.name for category in checkpoint.categories]
    ours = [category.name for category in dataset.categories]
    if theirs != ours:
        raise kind(
            f"the checkpoint knows {len(theirs)} classes and the data {len(ours)}, and they are not the same "
            "in the same order; train a detector on these classes, or, for a teacher, set teacher.gate to keys",
            checkpoint=source,
            only_in_checkpoint=[*sorted(set(theirs) - set(ours))[:10]],
            only_in_data=[*sorted(set(ours) - set(theirs))[:10]],
        )


def _report(error: Exception) -> ErrorReport:
    if _is_out_of_memory(error):
        error = OutOfMemoryError(
            "memory ran out; lower training.batch_size or the input size, or ask for a larger device", cause=str(error)
        ).with_traceback(error.__traceback__)
    trace = "".join(traceback.format_exception(error))
    if isinstance(error, FgdError):
        return ErrorReport(
            code=error.code,
            message=error.message,
            details=error.details,
            retryable=error.retryable,
            traceback=trace,
        )
    return ErrorReport(code="internal", message=f"{type(error).__name__}: {error}", traceback=trace)


def _is_out_of_memory(error: Exception) -> bool:
    # PyTorch's allocator for the CPU raises a plain RuntimeError.
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError) and "not enough memory" in str(error)
    )
