"""The front door of the library, and the only place that puts its parts together."""

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from typing import Literal

import torch

from fgd_core import confined
from fgd_core.data import change_since_check, inspect_dataset, resolved_data
from fgd_core.data.loading import TrainLoader
from fgd_core.data.samples import DetectionDataset, Split, check_same_categories, has_masks
from fgd_core.detectors import build_detector
from fgd_core.detectors.base import Detector
from fgd_core.detectors.checkpoint import DetectorCheckpoint, Record, read_checkpoint
from fgd_core.detectors.rescaled import at_input_scale
from fgd_core.detectors.weights import inherit
from fgd_core.detectors.weights.files import content_files
from fgd_core.detectors.weights.sources import LoadedTeacher, load_first_weights, load_teacher
from fgd_core.errors import DataError, OutOfMemoryError, WeightsError
from fgd_core.evaluation.evaluator import Evaluator
from fgd_core.evaluation.gate import check_teacher, score_teacher
from fgd_core.evaluation.inspection import inspect
from fgd_core.evaluation.relabelled import mean_ap
from fgd_core.spec.data import DataSpec, InputSpec, Registered
from fgd_core.spec.detectors import AnyDetector
from fgd_core.spec.events import Evaluated, RunFinished, Warned, WeightsLoaded
from fgd_core.spec.jobs import CheckDataSpec, DistillSpec, EvaluateSpec, JobSpec, Teacher, TrainSpec
from fgd_core.spec.plans import DistillationPlanned
from fgd_core.spec.pretrained import is_torchvision_name
from fgd_core.spec.results import ErrorReport, Scores
from fgd_core.stopping import Stopped, checking_for_stop
from fgd_core.training.checkpoints import CHECKPOINTS, RunCheckpoints, SavedPlace
from fgd_core.training.context import ChangesInFlight, RunContext
from fgd_core.training.course import Course, course_of, why_afresh
from fgd_core.training.distiller import Distiller
from fgd_core.training.levels import match_levels
from fgd_core.training.machine import Machine, choose_machine
from fgd_core.training.seeding import seed_everything
from fgd_core.training.teacher_maps import SharesTeacher, TeacherMaps, TeacherSharing
from fgd_core.training.trainer import Trainer


def execute(spec: JobSpec, context: RunContext) -> RunFinished:
    """Run a job to its end, whatever that is; the outcome is returned and also the last event.

    An error becomes the outcome `failed` with its report, so that it reaches whoever asked for the job. A run that is
    asked to stop ends as `stopped` from wherever it is.
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
    return bench.fit(spec.detector, detector, None, bench.saved_place())


def distill(spec: DistillSpec, context: RunContext) -> RunFinished:
    """Train a student beside a frozen teacher that has first shown its skill.

    Raises:
        TeacherError: the teacher's classes are others, or it has lost its skill.
        FgdError: see `fgd_core.errors`.
    """
    bench = _Bench(spec, context)
    student = bench.build(spec.student, role="student")
    teacher = bench.load_teacher(spec.teacher)
    seen = at_input_scale(teacher.detector, spec.teacher.input_scale)
    # That no level fits, or no place, is known before the gate, which takes a whole evaluation.
    match_levels(student.levels, seen.levels, spec.teacher.input_scale)
    saved = bench.saved_place()
    bench.check_teacher(spec.teacher, teacher, seen)
    distiller = Distiller(spec.method, student, seen, bench.shared_maps(spec.teacher, seen))
    inherited: WeightsLoaded | None = None
    if spec.inherit != "nothing":
        # After every other initialisation, which would else silently undo it.
        inherited = inherit(
            student,
            teacher.detector,
            spec.inherit,
            source=spec.teacher.checkpoint,
            student_classes=bench.classes,
            teacher_classes=teacher.classes,
        )
        context.emit(inherited)
    context.emit(_planned(spec, distiller, student, teacher.detector, inherited))
    bench.warn_of(distiller)
    return bench.fit(spec.student, student, distiller, saved)


def evaluate(spec: EvaluateSpec, context: RunContext) -> RunFinished:
    """Score a checkpoint on a validation split.

    Raises:
        WeightsError: the checkpoint's classes are not those of the data.
        FgdError: see `fgd_core.errors`.
    """
    seed_everything(spec.seed)
    machine = choose_machine(spec.resources, "float32")
    context.emit(machine.describe())
    checkpoint, _ = read_checkpoint(context.resolve_checkpoint(spec.checkpoint))
    dataset = _opened(spec.data, "val", context, checkpoint.detector)
    detector, loaded = checkpoint.build("detector", spec.checkpoint)
    context.emit(loaded)
    _check_classes(checkpoint, dataset, spec.checkpoint, WeightsError)
    detector.to(machine.device).eval()
    with _judge(dataset, spec.input or checkpoint.input, spec.batch_size, machine, context) as judge:
        scores = judge.scores(detector)
        context.emit(Evaluated(epoch=None, step=None, scores=scores))
        result = judge.result(detector, scores, folder=context.job_dir, device_name=machine.name)
    return RunFinished(outcome="succeeded", result=result)


def check_data(spec: CheckDataSpec, context: RunContext) -> RunFinished:
    """Look through a data set.

    Raises:
        DataError: a training on it would be refused.
        FgdError: see `fgd_core.errors`.
    """
    context.emit(choose_machine(spec.resources, "float32").describe())
    # What its name stood for: of a check it is not asked whether the data has changed.
    data = resolved_data(spec.data) if isinstance(spec.data, Registered) else spec.data
    inspect(data, num_samples=spec.num_samples, folder=context.job_dir, emit=context.emit)
    return RunFinished(outcome="succeeded")


def _opened(spec: DataSpec, split: Split, context: RunContext, detector: AnyDetector) -> DetectionDataset:
    """A split of the job's data, told of; with masks where the detector has them."""
    dataset = inspect_dataset(spec, split, with_masks=detector.has_masks)
    context.emit(dataset.checked)
    if dataset.refusal is not None:
        raise dataset.refusal
    if detector.has_masks and not has_masks(dataset.samples):
        context.emit(_without_masks(detector, spec, split))
    if isinstance(spec, Registered) and spec.if_changed == "warn":
        changed = change_since_check(spec, split, dataset)
        if changed is not None:
            context.emit(Warned(code="data_changed", message=changed.message, details=changed.details))
    return dataset


class _Bench:
    """What training and distilling share: a machine, opened data, and the way from a detector to a result."""

    def __init__(self, spec: TrainSpec | DistillSpec, context: RunContext) -> None:
        self.spec, self.context = spec, context
        self.sharing: TeacherSharing | None = context.teacher_sharing if isinstance(context, SharesTeacher) else None
        self._digests: dict[str, str] = {}
        seed_everything(spec.seed)
        self.machine = choose_machine(spec.resources, spec.training.precision)
        context.emit(self.machine.describe())
        learner = spec.detector if isinstance(spec, TrainSpec) else spec.student
        self.train_data = _opened(spec.data, "train", context, learner)
        self.val_data = _opened(spec.data, "val", context, learner)
        check_same_categories(self.train_data, self.val_data)
        self.loader = TrainLoader(
            self.train_data,
            spec.input,
            batch_size=spec.training.batch_size,
            seed=spec.seed,
            workers=spec.training.loader_workers,
        )

    @cached_property
    def course(self) -> Course:
        """Asked for once all weights are loaded: that a file is not there is for its loader to say."""
        return course_of(
            self.spec,
            data={
                "train": self.train_data.fingerprint,
                "val": self.val_data.fingerprint,
                "train_masks": self.train_data.checked.masks_fingerprint,
                "val_masks": self.val_data.checked.masks_fingerprint,
            },
            steps_per_epoch=self.loader.steps_per_epoch,
            digest=self._digest,
        )

    def saved_place(self) -> SavedPlace | None:
        """The place that an earlier run of this course left in the context's folder; None: training starts afresh.

        Raises:
            WeightsError: what lies there is another training's.
        """
        found = RunCheckpoints(self.context.job_dir / CHECKPOINTS).newest_sound()
        if found is None:
            return None
        may_change = self.context.may_change if isinstance(self.context, ChangesInFlight) else frozenset[str]()
        reason = why_afresh(found, self.course, may_change=may_change)
        if reason is None:
            return found
        self.context.emit(Warned(code="checkpoint_unsuited", message=reason))
        return None

    def build(self, settings: AnyDetector, *, role: Literal["detector", "student"]) -> Detector:
        """A detector with the first weights that its spec names."""
        detector = build_detector(settings, len(self.val_data.categories))
        loaded = load_first_weights(
            detector, settings, self.classes, role=role, resolve=self.context.resolve_checkpoint
        )
        if loaded is not None:
            self.context.emit(loaded)
        return detector

    @property
    def classes(self) -> list[str]:
        """Of the data, in the order of labels."""
        return [category.name for category in self.val_data.categories]

    def load_teacher(self, settings: Teacher) -> LoadedTeacher:
        """The teacher, on its device; not yet judged."""
        teacher = load_teacher(settings, resolve=self.context.resolve_checkpoint)
        self.context.emit(teacher.event)
        teacher.detector.to(self.machine.device).eval()
        return teacher

    def check_teacher(self, settings: Teacher, teacher: LoadedTeacher, seen: Detector) -> None:
        """See `fgd_core.evaluation.gate`.

        Args:
            seen: the teacher, looking at images as it will when it teaches.
        """
        if settings.gate == "keys":
            return
        checked = score_teacher(
            settings,
            teacher,
            seen,
            classes=self.classes,
            data_fingerprint=self.val_data.fingerprint,
            measure=lambda judged, classes: self._teacher_ap(settings, judged, classes),
        )
        self.context.emit(checked)
        check_teacher(settings, checked)

    def shared_maps(self, settings: Teacher, teacher: Detector) -> TeacherMaps | None:
        """The teacher's maps as runs with the same batches share them; None where nothing is shared."""
        if self.sharing is None:
            return None
        key = self._key_of_teacher(settings, self.train_data.fingerprint, self.spec.seed)
        return self.sharing.maps(key, teacher, self.loader)

    def _teacher_ap(self, settings: Teacher, teacher: Detector, classes: Sequence[str]) -> float | None:
        """Over the classes of the data that the teacher knows."""

        def measure() -> float | None:
            with self._judge("the teacher") as judge:
                return mean_ap(judge.scores(teacher), classes)

        if self.sharing is None:
            return measure()
        return self.sharing.ap(self._key_of_teacher(settings, self.val_data.fingerprint), measure)

    def _key_of_teacher(self, settings: Teacher, data_fingerprint: str, *more: int) -> str:
        """All that the teacher's output on this data follows from, to the bit."""
        weights = settings.model_dump(mode="json", include={"detector", "classes", "input_scale"})
        weights["checkpoint"] = self._digest(settings.checkpoint)
        spec = self.spec.model_dump(mode="json", include={"data": True, "input": True})
        machine = (self.machine.name, torch.get_num_threads(), str(self.machine.autocast_dtype), torch.__version__)
        parts = (weights, data_fingerprint, spec, self.spec.training.batch_size, *machine, *more)
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def _digest(self, source: str) -> str:
        """Identifies weights by content: the SHA-256 of their file or files, or the name of torchvision's weights."""
        if is_torchvision_name(source):
            return source
        if source not in self._digests:
            digests = []
            for path in content_files(self.context.resolve_checkpoint(source)):
                with confined.opened(path) as file:
                    digests.append(hashlib.file_digest(file, "sha256").hexdigest())
            whole = hashlib.sha256("".join(digests).encode()).hexdigest()
            self._digests[source] = digests[0] if len(digests) == 1 else whole
        return self._digests[source]

    def warn_of(self, distiller: Distiller) -> None:
        """Say before hours of training that hyper-parameters do not suit this teacher."""
        batch = next(self.loader.epoch(0)).to(self.machine.device)
        advice = distiller.to(self.machine.device).advice(batch)
        if advice:
            self.context.emit(Warned(code="method_unsuited", message="; ".join(advice)))

    def fit(
        self, settings: AnyDetector, detector: Detector, distiller: Distiller | None, saved: SavedPlace | None
    ) -> RunFinished:
        """Train to the end, or until the context asks to stop; from the saved place, if there is one."""
        with self._judge("the validation split") as judge:
            return self._fit(settings, detector, distiller, saved, judge)

    def _fit(
        self,
        settings: AnyDetector,
        detector: Detector,
        distiller: Distiller | None,
        saved: SavedPlace | None,
        judge: Evaluator,
    ) -> RunFinished:

        def describe(scores: Scores | None, epoch: int, step: int) -> DetectorCheckpoint:
            return DetectorCheckpoint(
                # Where the first weights came from is history; whoever builds this detector again has these.
                detector=settings.model_copy(update={"weights": None, "weights_set": None}),
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
            course=self.course,
        )
        if saved is not None:
            trainer.resume(saved)
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

    def _judge(self, what: str) -> Evaluator:
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
) -> Evaluator:
    return Evaluator(
        dataset,
        input_spec,
        batch_size=batch_size,
        device=machine.device,
        autocast_dtype=machine.autocast_dtype,
        emit=context.emit,
        what=what,
    )


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
        inherit=spec.inherit,
        num_inherited=inherited.num_matched if inherited is not None else 0,
        num_inheritable=inherited.num_total if inherited is not None else 0,
        not_inherited=[*inherited.missing, *inherited.mismatched] if inherited is not None else [],
    )


def _without_masks(detector: AnyDetector, spec: DataSpec, split: Split) -> Warned:
    """What it means that no object of a split has a mask.

    Raises:
        DataError: they are to be learned.
    """
    name = type(detector).model_fields["type"].default
    facts = {"detector": name, "split": split, "data": spec.model_dump(mode="json")}
    if split == "train":
        raise DataError(
            f"{name} learns masks, and no object of the training split has one; give the annotations a segmentation, "
            "or train a detector that needs boxes only, such as faster_rcnn",
            **facts,
        )
    message = f"no object of the validation split has a segmentation, so {name} is scored by its boxes alone"
    return Warned(code="no_masks_to_score", message=message, details=facts)


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
    return ErrorReport.of(error)


def _is_out_of_memory(error: Exception) -> bool:
    # PyTorch's allocator for the CPU raises a plain RuntimeError.
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError) and "not enough memory" in str(error)
    )
