"""Trains a detector: the loop over epochs with steps, evaluations, checkpoints and events."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from fgd_core.data.loading import Batch, TrainLoader
from fgd_core.detectors.base import Detector
from fgd_core.detectors.weights.checkpoint import DetectorCheckpoint
from fgd_core.errors import NonFiniteLossError, WeightsError
from fgd_core.methods.base import Moment
from fgd_core.ranks import from_first, is_first
from fgd_core.spec.events import (
    EpochFinished,
    Evaluated,
    MetricsLogged,
    Progress,
    Resumed,
)
from fgd_core.spec.results import Scores
from fgd_core.spec.training import TrainingSpec
from fgd_core.stopping import Stopped
from fgd_core.training import gpu_memory
from fgd_core.training.checkpoints import CHECKPOINTS, RunCheckpoints, SavedTraining
from fgd_core.training.context import AwaitsVerdicts, RunContext
from fgd_core.training.distiller import Distillation
from fgd_core.training.identity import RunIdentity
from fgd_core.training.machine import Machine, generator_states, restore_generators
from fgd_core.training.optimizers import build_optimizer, learning_rate
from fgd_core.training.step import Learner, shared_by_ranks, training_step

_PROGRESS_EVERY_S = 1.0


@dataclass
class _State:
    """The state of the training besides weights and optimiser; checkpoints contain all of it."""

    epoch: int = 0
    """Number of epochs that are done."""
    step_in_epoch: int = 0
    best_ap: float | None = None
    best_epoch: int | None = None
    train_s: float = 0.0
    """Seconds in training steps, over all attempts."""
    evaluation_s: float = 0.0
    """Duration of the newest evaluation."""
    awaits_evaluation: bool = False
    """Whether the newest epoch is trained and its evaluation is due but not done."""
    epoch_sums: dict[str, float] = field(default_factory=dict)
    epoch_train_s: float = 0.0
    course: RunIdentity = field(default_factory=dict)
    """Everything that the state depends on; see `training.identity`. Checkpoints keep the first name of this field."""


class Trainer:
    """Trains `detector` until its epochs are done or the context asks it to stop.

    Of several ranks, each has a trainer, and all are in the same state. Rank 0 saves it, and decides when to stop.

    Args:
        distiller: adds the distillation loss; None trains on labels only.
        evaluate: scores the detector, which is in eval mode, on the validation split.
        describe: makes a checkpoint of the detector's present weights, given scores, epoch and step.
        identity: everything that the training depends on; checkpoints contain it.
    """

    def __init__(
        self,
        detector: Detector,
        distiller: Distillation | None,
        loader: TrainLoader,
        settings: TrainingSpec,
        context: RunContext,
        *,
        evaluate: Callable[[Detector], Scores],
        describe: Callable[[Scores | None, int, int], DetectorCheckpoint],
        machine: Machine,
        identity: RunIdentity,
    ) -> None:
        self.detector, self.distiller, self.loader = detector, distiller, loader
        self.settings, self.context = settings, context
        self._evaluate, self._describe = evaluate, describe
        self._machine = machine
        learner = Learner(detector, distiller)
        self._learner = shared_by_ranks(learner)
        self.optimizer = build_optimizer(settings.optimizer, chain.from_iterable(learner.groups))
        self.checkpoints = RunCheckpoints(context.job_dir / CHECKPOINTS)
        self.state = _State(course=identity)
        self.steps = settings.epochs * loader.steps_per_epoch
        self._saved_at_s = time.monotonic()
        self._window = _Window()

    @property
    def step(self) -> int:
        """Number of steps that are done."""
        return self.state.epoch * self.loader.steps_per_epoch + self.state.step_in_epoch

    def resume(self, found: SavedTraining) -> None:
        """Restore a saved training; the run then continues as if it had never stopped.

        Raises:
            WeightsError: an older version saved the checkpoint, and it does not fit this training.
        """
        try:
            self.detector.load_state_dict(found.checkpoint.state)
            self.load_state_dict(found.training)
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            raise WeightsError(
                f"{found.path.name} does not fit this training; to start from the beginning, submit a new job, or run "
                "in a folder without checkpoints",
                checkpoint=str(found.path),
                cause=str(error)[:500],
            ) from error
        state = self.state
        self.context.emit(
            Resumed(
                checkpoint=found.path.name,
                epoch=state.epoch,
                step=self.step,
                awaits_evaluation=state.awaits_evaluation,
            )
        )
        best = self.checkpoints.inherited_best()
        if best is not None:
            # The checkpoint is now in this attempt's folder; the earlier attempt may still write to its own.
            self.context.emit(best)
        self._wait_for_verdict()

    def state_dict(self) -> dict[str, Any]:
        """Return all state but the detector's weights. Schedule and data order are functions of this state."""
        return {
            "batch_size": self.settings.batch_size,
            "place": dict(vars(self.state)),
            "optimizer": self.optimizer.state_dict(),
            "distiller": self.distiller.state_dict() if self.distiller is not None else {},
            "generators": generator_states(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        # This run's identity: the training may have been extended, or changed on purpose.
        self.state = _State(**{**state["place"], "course": self.state.course})
        self.optimizer.load_state_dict(state["optimizer"])
        if self.distiller is not None:
            self.distiller.load_state_dict(state["distiller"])
        restore_generators(state["generators"])

    def fit(self) -> bool:
        """Train to the end.

        Returns:
            False if the context asked to stop first; `last.pt` then holds exactly this step, or the epoch whose
            evaluation was stopped.
        Raises:
            NonFiniteLossError: the loss is not finite; the error names epoch and step.
            StorageError: a checkpoint could not be written.
        """
        state = self.state
        if state.awaits_evaluation and not self._run_evaluation():
            return False
        while state.epoch < self.settings.epochs:
            if not self._run_epoch():
                self._save_last()
                return False
            is_last = state.epoch == self.settings.epochs
            state.awaits_evaluation = is_last or state.epoch % self.settings.evaluate_every == 0
            # Before the evaluation: it may take longer than the epoch, and must not cost it.
            self._save_last()
            if state.awaits_evaluation and not self._run_evaluation():
                return False
        return True

    def _run_epoch(self) -> bool:
        self.detector.train()
        state = self.state
        waits_since_s = time.perf_counter()
        for batch in self.loader.epoch(state.epoch, state.step_in_epoch):
            waited_s = time.perf_counter() - waits_since_s
            if from_first(self.context.should_stop):
                self._log_steps()
                return False
            self._run_step(batch.to(self._machine.device), waited_s)
            if time.monotonic() - self._saved_at_s > self.settings.checkpoint_every_s:
                self._save_last()
            waits_since_s = time.perf_counter()
        num_images = self.loader.steps_per_epoch * self.settings.batch_size
        means = {name: total / self.loader.steps_per_epoch for name, total in state.epoch_sums.items()}
        rate = num_images / state.epoch_train_s
        state.epoch += 1
        state.step_in_epoch, state.epoch_sums, state.epoch_train_s = 0, {}, 0.0
        self._log_steps()
        self.context.emit(
            EpochFinished(
                epoch=state.epoch,
                epochs=self.settings.epochs,
                step=self.step,
                steps=self.steps,
                images_per_s=rate,
                eta_s=self._eta_s(),
                learning_rate=learning_rate(self.settings, self.step - 1, self.steps),
                values=means,
            )
        )
        return True

    def _run_step(self, batch: Batch, waited_s: float) -> None:
        """Train on one batch; report progress about once a second."""
        started_s = time.perf_counter()
        rate = learning_rate(self.settings, self.step, self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        try:
            tensors = training_step(
                self._learner,
                self.optimizer,
                batch,
                clip_norm=self.settings.clip_norm,
                autocast_dtype=self._machine.autocast_dtype,
                moment=Moment(self.step, self.steps, self.settings.epochs),
            )
        except NonFiniteLossError as error:
            # The values of the steps before this one show the cause.
            self._log_steps()
            error.details |= {"epoch": self.state.epoch + 1, "step": self.step + 1, "learning_rate": rate}
            raise
        values = _to_floats(tensors)
        state = self.state
        state.step_in_epoch += 1
        for name, value in values.items():
            state.epoch_sums[name] = state.epoch_sums.get(name, 0.0) + value
        elapsed_s = time.perf_counter() - started_s
        state.train_s += elapsed_s
        state.epoch_train_s += elapsed_s
        self._window.add(self.step, values, waited_s=waited_s, trained_s=elapsed_s)
        if self._window.is_due():
            self._report_progress(rate)
            self._log_steps()

    def _report_progress(self, rate: float) -> None:
        memory = gpu_memory.measure(self._machine.device)
        self.context.emit(
            Progress(
                epoch=self.state.epoch + 1,
                epochs=self.settings.epochs,
                step=self.step,
                steps=self.steps,
                images_per_s=self.settings.batch_size * self.step / self.state.train_s,
                eta_s=self._eta_s(),
                learning_rate=rate,
                data_wait=self._window.data_wait,
                values=self._window.take_means(),
                gpu_memory_bytes=memory and memory.allocated_bytes,
                gpu_memory_peak_bytes=memory and memory.peak_bytes,
                gpu_memory_of_workers=gpu_memory.of_each_rank(memory),
            )
        )

    def _log_steps(self) -> None:
        logged = self._window.take_steps()
        if logged is not None:
            self.context.emit(logged)

    def _run_evaluation(self) -> bool:
        """Score the newest epoch and save the result; return False if the context asked to stop first."""
        started_s = time.perf_counter()
        self.detector.eval()
        try:
            scores = self._evaluate(self.detector)
        except Stopped:
            return False
        self.detector.train()
        state = self.state
        state.evaluation_s = time.perf_counter() - started_s
        self.context.emit(Evaluated(epoch=state.epoch, step=self.step, scores=scores))
        # The first evaluation is the best even without a score, because every run must leave a best checkpoint.
        if state.best_epoch is None or (scores.ap or 0) > (state.best_ap or 0):
            state.best_ap, state.best_epoch = scores.ap, state.epoch
            if is_first():
                self.context.emit(self.checkpoints.save_best(self._describe(scores, state.epoch, self.step)))
        state.awaits_evaluation = False
        self._save_last(scores, replaces=True)
        self._wait_for_verdict()
        return True

    def _wait_for_verdict(self) -> None:
        if isinstance(self.context, AwaitsVerdicts):
            self.context.wait_for_verdict()

    def _save_last(self, scores: Scores | None = None, *, replaces: bool = False) -> None:
        self._saved_at_s = time.monotonic()
        if not is_first():
            return
        checkpoint = self._describe(scores, self.state.epoch, self.step)
        self.context.emit(self.checkpoints.save_last(checkpoint, self.state_dict(), replaces=replaces))

    def _eta_s(self) -> float | None:
        if self.step == 0:
            return None
        evaluations = -(-self.settings.epochs // self.settings.evaluate_every) - (
            self.state.epoch // self.settings.evaluate_every
        )
        return (self.steps - self.step) * self.state.train_s / self.step + evaluations * self.state.evaluation_s


class _Window:
    """Collects the values since the previous progress event: their means, and the values of each step in columns."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._count = 0
        self._due_s = 0.0
        self._steps: list[int] = []
        self._columns: dict[str, list[float | None]] = {}
        self._waited_s = self._trained_s = 0.0

    def add(self, step: int, values: dict[str, float], *, waited_s: float, trained_s: float) -> None:
        self._count += 1
        self._waited_s += waited_s
        self._trained_s += trained_s
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
            # Some terms occur only in some steps.
            column = self._columns.setdefault(name, [])
            column.extend([None] * (len(self._steps) - len(column)))
            column.append(value)
        self._steps.append(step)

    def take_steps(self) -> MetricsLogged | None:
        """Return the values of the steps since the last call, in columns; None if there are none."""
        steps, columns = self._steps, self._columns
        self._steps, self._columns = [], {}
        for column in columns.values():
            column.extend([None] * (len(steps) - len(column)))
        return MetricsLogged(steps=steps, values=columns) if steps else None

    def is_due(self) -> bool:
        return time.monotonic() >= self._due_s

    @property
    def data_wait(self) -> float:
        """Fraction of the time of these steps that went into waiting for images, in [0, 1]."""
        return self._waited_s / (self._waited_s + self._trained_s)

    def take_means(self) -> dict[str, float]:
        means = {name: total / self._count for name, total in self._sums.items()}
        self._sums, self._count = {}, 0
        self._waited_s = self._trained_s = 0.0
        self._due_s = time.monotonic() + _PROGRESS_EVERY_S
        return means


def _to_floats(values: dict[str, Tensor]) -> dict[str, float]:
    """Convert scalars to floats with a single transfer from the device."""
    stacked = torch.stack([value.float() for value in values.values()]).tolist()
    return dict(zip(values, stacked, strict=True))
