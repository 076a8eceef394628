"""A training run, with or without a teacher."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Literal

import torch
from pydantic import JsonValue

from fgd_core.data.image_groups import check_contents, image_groups
from fgd_core.data.loading import TrainLoader
from fgd_core.data.pictures import Pictured
from fgd_core.data.samples import DetectionDataset, check_same_categories
from fgd_core.detectors import build_detector
from fgd_core.detectors.base import Detector
from fgd_core.detectors.weights.checkpoint import DetectorCheckpoint, Record, read_checkpoint
from fgd_core.detectors.weights.classes import match_classes
from fgd_core.detectors.weights.digests import weights_digest
from fgd_core.detectors.weights.sources import LoadedTeacher, load_first_weights, load_teacher
from fgd_core.errors import SpecError
from fgd_core.evaluation.ap_cache import remembered_ap
from fgd_core.evaluation.evaluator import Evaluator
from fgd_core.evaluation.gate import check_teacher, score_teacher
from fgd_core.evaluation.gate_sample import TeacherAp, estimate_ap, sample_of
from fgd_core.evaluation.relabelled import mean_ap
from fgd_core.evaluation.worst_images import ShownTeacher
from fgd_core.export.model_card import MODEL_CARD, model_card
from fgd_core.provenance import digest_of_code
from fgd_core.ranks import copy_from_first, from_first, is_first, world_size
from fgd_core.runs.opening import evaluator_for, open_pictures, open_pool, open_split
from fgd_core.spec.data import IMAGE
from fgd_core.spec.detectors import AnyDetector
from fgd_core.spec.events import RunFinished, Warned
from fgd_core.spec.kinds.distill import DistillSpec, needed_pictures
from fgd_core.spec.kinds.teacher import Teacher
from fgd_core.spec.kinds.train import TrainSpec
from fgd_core.spec.training import TrainingSpec
from fgd_core.storage import write_atomically
from fgd_core.training.checkpoints import CHECKPOINTS, RunCheckpoints, SavedTraining
from fgd_core.training.context import AwaitsVerdicts, ChangesInFlight, RunContext
from fgd_core.training.distiller import Distillation
from fgd_core.training.ending import Spent
from fgd_core.training.identity import RunIdentity, reason_to_restart, run_identity
from fgd_core.training.machine import choose_machine, default_evaluate_beside, seed_everything
from fgd_core.training.teacher_maps import OwnTeacher, SharesTeacher, TeacherMaps, TeacherSharing
from fgd_core.training.trainer import Trainer


class TrainingRun:
    """Holds what training and distilling share: a machine, the open data, and the way from a detector to a result."""

    def __init__(self, spec: TrainSpec | DistillSpec, context: RunContext) -> None:
        self.spec, self.context = spec, context
        self.sharing: TeacherSharing | None = context.teacher_sharing if isinstance(context, SharesTeacher) else None
        self._digests: dict[str, str] = {}
        self._spent = Spent()
        _check_parts(spec.training)
        seed_everything(spec.seed)
        self.machine = choose_machine(spec.resources, spec.training.precision, spec.training.loader_workers)
        context.emit(self.machine.describe())
        trained = spec.detector if isinstance(spec, TrainSpec) else spec.student
        self.train_data = open_split(spec.data, "train", context, trained, augments=spec.input.augment)
        self.val_data = open_split(spec.data, "val", context, trained)
        check_same_categories(self.train_data, self.val_data)
        check_contents(self.val_data, spec.evaluation.expected)
        self._groups = from_first(lambda: image_groups(spec.data, self.val_data, spec.evaluation.attributes))
        self.pictures = {
            name: open_pictures(spec.data, name, self.train_data, context, until_epoch=until_epoch)
            for name, until_epoch in needed_pictures(spec).items()
        }
        self.pool = open_pool(spec, self.train_data, self.val_data, context)
        self.loader = TrainLoader(
            self.train_data,
            spec.input,
            batch_size=spec.training.batch_size,
            seed=spec.seed,
            workers=self.machine.loader_workers,
            pictures=[*self.pictures.values()],
            with_masks=trained.has_masks,
            pool=self.pool,
        )

    @cached_property
    def identity(self) -> RunIdentity:
        """What this run depends on. Read it after all weights are loaded: their loaders report errors of missing
        files."""
        return from_first(self._identity)

    def _identity(self) -> RunIdentity:
        return run_identity(
            self.spec,
            data={
                "train": self.train_data.fingerprint,
                "val": self.val_data.fingerprint,
                "train_masks": self.train_data.checked.masks_fingerprint,
                "val_masks": self.val_data.checked.masks_fingerprint,
                **self._keypoints_fingerprints(),
                **{f"pictures.{name}": each.fingerprint for name, each in self.pictures.items()},
                **({"pool": self.pool.dataset.fingerprint} if self.pool is not None else {}),
            },
            steps_per_epoch=self.loader.steps_per_epoch,
            digest=self._digest,
        )

    def _keypoints_fingerprints(self) -> dict[str, str | None]:
        """Return the digests of the keypoints by split; empty for a detector without keypoints."""
        splits = {"train_keypoints": self.train_data, "val_keypoints": self.val_data}
        found = {name: dataset.checked.keypoints_fingerprint for name, dataset in splits.items()}
        return found if any(found.values()) else {}

    def saved_training(self) -> SavedTraining | None:
        """Return the checkpoint of an earlier attempt in the context's folder; None if training starts from the
        beginning.

        Raises:
            WeightsError: the checkpoint there is from another training.
        """
        identity = self.identity
        return from_first(lambda: self._saved_training(identity))

    def _saved_training(self, identity: RunIdentity) -> SavedTraining | None:
        found = RunCheckpoints(self.context.job_dir / CHECKPOINTS).newest_readable()
        if found is None:
            return None
        may_change = self.context.may_change if isinstance(self.context, ChangesInFlight) else frozenset[str]()
        reason = reason_to_restart(found, identity, may_change=may_change)
        if reason is None:
            return found
        self.context.emit(Warned(code="checkpoint_unsuited", message=reason))
        # On rank 0 alone, which decides when a budget is spent.
        self._spent = found.spent
        return None

    def build(self, settings: AnyDetector, *, role: Literal["detector", "student"]) -> Detector:
        """Build a detector with the initial weights that its spec names."""
        detector = build_detector(settings, len(self.val_data.categories))
        # The student of an earlier stage of a chain is a file of rank 0 only.
        if is_first():
            loaded = load_first_weights(
                detector, settings, self.classes, role=role, resolve=self.context.resolve_checkpoint
            )
            if loaded is not None:
                self.context.emit(loaded)
        copy_from_first(detector)
        return detector

    @property
    def classes(self) -> list[str]:
        """Class names of the data, in the order of labels."""
        return [category.name for category in self.val_data.categories]

    def load_teacher(self, settings: Teacher) -> LoadedTeacher:
        """Load the teacher onto its device; its AP is not checked yet."""
        teacher = load_teacher(settings, resolve=self.context.resolve_checkpoint)
        self.context.emit(teacher.event)
        self.machine.placed(teacher.detector).eval()
        return teacher

    def check_teacher(self, settings: Teacher, teacher: LoadedTeacher, rescaled: Detector, number: int = 1) -> None:
        """Check the teacher's AP; see `fgd_core.evaluation.gate`.

        Args:
            rescaled: the teacher at the input scale of the distillation.
            number: counts the teachers from 1.
        """
        if settings.gate == "keys":
            return
        checked = score_teacher(
            settings,
            teacher,
            rescaled,
            classes=self.classes,
            data_fingerprint=self.val_data.fingerprint,
            measure=lambda detector, classes, limit: self._teacher_ap(settings, detector, classes, limit),
        )
        self.context.emit(checked.model_copy(update={"number": number}))
        check_teacher(settings, checked)

    def shared_maps(self, settings: Teacher, teacher: Detector, pictures: Sequence[str]) -> Mapping[str, TeacherMaps]:
        """Return the sources of teacher maps that runs with the same batches share; empty if nothing is shared.

        Args:
            pictures: what the student sees, by name; the source of each has the picture's name.
        """
        # A shared source knows whole batches only.
        if self.sharing is None or self.spec.training.accumulate > 1:
            return {}
        assert isinstance(self.spec, DistillSpec)
        with_stages = self.spec.method.compares_stages
        found = {}
        for name in pictures:
            seen = settings.picture or IMAGE if name == IMAGE else name
            content = [seen, self.pictures[seen].fingerprint] if seen in self.pictures else []
            content += ["stages"] if with_stages else []
            key = self._key_of_teacher(settings, self.train_data.fingerprint, self.spec.seed, *content)
            num_batches = self._num_batches(self._until_epoch(seen))
            own = OwnTeacher(teacher, with_stages=with_stages)
            found[name] = self.sharing.maps(key, own, self.loader.showing(seen), num_batches=num_batches)
        return found

    def _until_epoch(self, seen: str) -> int | None:
        """Return the number of epochs in which a teacher sees a picture; None: all."""
        pictures = needed_pictures(self.spec)
        if seen in pictures:
            return pictures[seen]
        schedule = self.spec.method.scale_schedule if isinstance(self.spec, DistillSpec) else None
        return schedule.until_epoch if schedule is not None else None

    def _num_batches(self, epochs: int | None) -> int | None:
        return None if epochs is None else epochs * self.loader.steps_per_epoch

    def _teacher_ap(
        self, settings: Teacher, teacher: Detector, classes: Sequence[str], limit: float | None
    ) -> TeacherAp:
        """Return the mean AP over the data's classes that the teacher knows; see `score_teacher`."""
        seen = [settings.picture] if settings.picture is not None else []
        key = self._key_of_teacher(settings, self.val_data.fingerprint, *seen, digest_of_code(), str(limit))

        def measure() -> JsonValue:
            return remembered_ap(key, lambda: self._measured(settings, teacher, classes, limit).model_dump())

        return TeacherAp.of(measure() if self.sharing is None else self.sharing.ap(key, measure))

    def _measured(self, settings: Teacher, teacher: Detector, classes: Sequence[str], limit: float | None) -> TeacherAp:
        """Measure the AP on a sample, or on the whole split where the sample leaves doubt."""
        dataset = self._seen_by(settings)
        sample = sample_of(dataset)
        if sample is not None:
            with self._evaluator("the teacher, on a sample", sample) as evaluator:
                detections = evaluator.detections(teacher)
            found = from_first(lambda: estimate_ap(sample, detections, classes))
            if found.is_surely_above(limit):
                return found
        with self._evaluator("the teacher", dataset) as evaluator:
            return TeacherAp(ap=mean_ap(evaluator.scores(teacher), classes))

    def _seen_by(self, settings: Teacher) -> DetectionDataset:
        """Return the validation split with the pictures that a teacher sees.

        Raises:
            DataError, SpecError: its pictures are missing.
        """
        if settings.picture is None:
            return self.val_data
        pictures = open_pictures(self.spec.data, settings.picture, self.val_data, self.context)
        return Pictured(self.val_data, pictures)

    def _key_of_teacher(self, settings: Teacher, data_fingerprint: str, *more: int | str) -> str:
        """Return a digest of everything that determines the teacher's output on this data, to the bit."""
        weights = settings.model_dump(mode="json", include={"detector", "classes", "input_scale"})
        weights["checkpoint"] = self._digest(settings.checkpoint)
        spec = self.spec.model_dump(mode="json", include={"data": True, "input": True})
        machine = (self.machine.name, torch.get_num_threads(), str(self.machine.autocast_dtype), torch.__version__)
        parts = (weights, data_fingerprint, spec, self.spec.training.batch_size, *machine, *more)
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def _digest(self, source: str) -> str:
        if source not in self._digests:
            self._digests[source] = weights_digest(source, self.context.resolve_checkpoint)
        return self._digests[source]

    def warn_of(self, distiller: Distillation) -> None:
        """Warn, before hours of training, if hyper-parameters do not suit this teacher."""
        batch = next(self.loader.epoch(0)).to(self.machine.device)
        advice = distiller.to(self.machine.device).advice(batch)
        if advice:
            self.context.emit(Warned(code="method_unsuited", message="; ".join(advice)))

    def shown_teacher(self, settings: Teacher, teacher: LoadedTeacher, rescaled: Detector, name: str) -> ShownTeacher:
        """Describe a teacher to the pictures of the worst images.

        Args:
            rescaled: the teacher at the input scale of the distillation.
        """
        classes = match_classes(teacher.classes, self.classes).sources(len(self.classes))
        return ShownTeacher(name, rescaled, self._seen_by(settings), classes)

    def fit(
        self,
        settings: AnyDetector,
        detector: Detector,
        distiller: Distillation | None,
        saved: SavedTraining | None,
        teachers: Sequence[ShownTeacher] = (),
    ) -> RunFinished:
        """Train to the end, or until the context asks to stop; start from the saved training, if there is one.

        Args:
            teachers: shown beside the trained detector on its worst images.
        """
        with self._evaluator("the validation split") as evaluator:
            trainer = self._trainer(settings, detector, distiller, evaluator)
            if saved is not None:
                trainer.resume(saved)
            try:
                if not trainer.fit():
                    return RunFinished(outcome="stopped")
            finally:
                self.loader.close()
            return self._result(trainer, evaluator, teachers)

    def _trainer(
        self, settings: AnyDetector, detector: Detector, distiller: Distillation | None, evaluator: Evaluator
    ) -> Trainer:
        facts = {"data_fingerprint": self.val_data.fingerprint, "job": self.spec.model_dump(mode="json")}

        def describe(trained: Detector, record: Record) -> DetectorCheckpoint:
            return DetectorCheckpoint(
                # Without the source of the initial weights: a detector that is built again gets the checkpoint's.
                detector=settings.model_copy(update={"weights": None, "weights_set": None}),
                categories=self.val_data.categories,
                input=self.spec.input,
                record=record.model_copy(update=facts),
                state=trained.state_dict(),
            )

        return Trainer(
            self.machine.placed(detector),
            distiller.to(self.machine.device) if distiller is not None else None,
            self.loader,
            self.spec.training,
            self.context,
            evaluate=evaluator.scores,
            describe=describe,
            machine=self.machine,
            identity=self.identity,
            spent=self._spent,
            evaluate_beside=partial(evaluator.scores, beside=True) if self._evaluates_beside else None,
        )

    @property
    def _evaluates_beside(self) -> bool:
        wanted = self.spec.training.evaluate_beside
        return default_evaluate_beside(self.spec.resources) if wanted is None else wanted

    def _result(self, trainer: Trainer, evaluator: Evaluator, teachers: Sequence[ShownTeacher]) -> RunFinished:
        """Measure the best checkpoint of a finished training."""
        best, _ = from_first(lambda: read_checkpoint(trainer.checkpoints.best))
        detector = trainer.detector
        detector.load_state_dict(best.state)
        detector.eval()
        assert best.record.scores is not None, "best.pt is written after an evaluation"
        folder, device_name = self.context.job_dir, self.machine.name
        # Nobody looks at pictures of each trial of a sweep, and drawing takes a second.
        shown = None if isinstance(self.context, AwaitsVerdicts) else teachers
        scores = best.record.scores
        result = evaluator.result(
            detector,
            scores,
            folder=folder,
            device_name=device_name,
            teachers=shown,
            altered=self.spec.evaluation.altered,
            groups=self._groups,
        )
        if shown is not None and is_first():
            self._write_card(best, trainer.checkpoints.best)
        state = trainer.state
        update = {
            "best_epoch": best.record.epoch,
            "train_s": from_first(lambda: state.train_s),
            "weights": best.record.weights,
            "ended_by": state.ended_by,
            "skipped_steps": state.skipped_steps,
        }
        return RunFinished(outcome="succeeded", result=result.model_copy(update=update))

    def _write_card(self, best: DetectorCheckpoint, path: Path) -> None:
        """Write the model card of the best checkpoint beside it."""
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        text = model_card(best, source=f"best.pt of {self.spec.name}", sha256=digest)
        written = write_atomically(self.context.job_dir / MODEL_CARD, lambda file: file.write(text.encode()))
        self.context.emit(written.artifact("text/markdown"))

    def _evaluator(self, what: str, dataset: DetectionDataset | None = None) -> Evaluator:
        batch_size = self.spec.training.batch_size
        return evaluator_for(
            dataset or self.val_data, self.spec.input, batch_size, self.machine, self.context, what=what
        )


def _check_parts(training: TrainingSpec) -> None:
    """Check that each rank's share of a batch has equal parts.

    Raises:
        SpecError: it has not.
    """
    unit = world_size() * training.accumulate
    if training.batch_size % unit:
        raise SpecError(
            f"{world_size()} processes cannot share a batch of {training.batch_size} images in {training.accumulate} "
            f"equal parts each; use a multiple of {unit}, or change training.accumulate or resources.workers",
            batch_size=training.batch_size,
            accumulate=training.accumulate,
        )
