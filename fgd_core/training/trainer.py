"""The loop over epochs: steps, evaluations, checkpoints, and an account of all of it."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from fgd_core.data.loading import TrainLoader
from fgd_core.detectors.base import Detector
from fgd_core.detectors.checkpoint import DetectorCheckpoint
from fgd_core.errors import NonFiniteLossError, WeightsError
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
from fgd_core.training.checkpoints import CHECKPOINTS, RunCheckpoints, SavedPlace
from fgd_core.training.context import AwaitsVerdicts, RunContext
from fgd_core.training.course import Course
from fgd_core.training.distiller import Distiller
from fgd_core.training.machine import Machine
from fgd_core.training.optimizers import build_optimizer, learning_rate
from fgd_core.training.seeding import generator_states, restore_generators
from fgd_core.training.step import training_step

_PROGRESS_EVERY_S = 1.0


@dataclass
class _Place:
    """Where training stands; all of it goes into the checkpoint."""

    epoch: int = 0
    """Epochs done."""
    step_in_epoch: int = 0
    best_ap: float | None = None
    best_epoch: int | None = None
    train_s: float = 0.0
    """In steps alone, over all attempts."""
    evaluation_s: float = 0.0
    """Of the newest evaluation."""
    awaits_evaluation: bool = False
    """Whether the newest epoch is trained, and its evaluation is due and not done."""
    epoch_sums: dict[str, float] = field(default_factory=dict)
    epoch_train_s: float = 0.0
    course: Course = field(default_factory=dict)
    """All that the rest depends on; see `training.course`."""


class Trainer:
    """Trains `detector` until its epochs are done or the context asks it to stop.

    Args:
        distiller: adds the imitation of a teacher to the loss; None trains on the labels alone.
        evaluate: scores the detector, given in eval mode, on the validation split.
        describe: makes a checkpoint of the detector's present weights.
        course: what the run is, for those who go on from its checkpoints.
    """

    def __init__(
        self,
        detector: Detector,
        distiller: Distiller | None,
        loader: TrainLoader,
        settings: TrainingSpec,
        context: RunContext,
        *,
        evaluate: Callable[[Detector], Scores],
        describe: Callable[[Scores | None, int, int], DetectorCheckpoint],
        machine: Machine,
        course: Course,
    ) -> None:
        self.detector, self.distiller, self.loader = detector, distiller, loader
        self.settings, self.context = settings, context
        self._evaluate, self._describe = evaluate, describe
        self._machine = machine
        own = list(distiller.parameters()) if distiller is not None else []
        self.optimizer = build_optimizer(settings.optimizer, [*detector.parameters(), *own])
        self.checkpoints = RunCheckpoints(context.job_dir / CHECKPOINTS)
        self.place = _Place(course=course)
        self.steps = settings.epochs * loader.steps_per_epoch
        self._saved_at_s = time.monotonic()
        self._window = _Window()

    @property
    def step(self) -> int:
        """Steps done."""
        return self.place.epoch * self.loader.steps_per_epoch + self.place.step_in_epoch

    def resume(self, found: SavedPlace) -> None:
        """Go on from a place of this course; the run is then as if it had never stopped.

        Raises:
            WeightsError: the place was saved by an older version, and does not fit after all.
        """
        try:
            self.detector.load_state_dict(found.checkpoint.state)
            self.load_state_dict(found.training)
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            raise WeightsError(
                f"{found.path.name} does not fit this training; to start afresh, submit a new job, or run in a folder "
                "without checkpoints",
                checkpoint=str(found.path),
                cause=str(error)[:500],
            ) from error
        place = self.place
        self.context.emit(
            Resumed(
                checkpoint=found.path.name,
                epoch=place.epoch,
                step=self.step,
                awaits_evaluation=place.awaits_evaluation,
            )
        )
        best = self.checkpoints.handed_over_best()
        if best is not None:
            # It lies in a folder of our own now; the one that it came from may still be written to.
            self.context.emit(best)
        self._wait_for_verdict()

    def state_dict(self) -> dict[str, Any]:
        """All but the detector's weights. The schedule and the order of the data are functions of the place."""
        return {
            "batch_size": self.settings.batch_size,
            "place": dict(vars(self.place)),
            "optimizer": self.optimizer.state_dict(),
            "distiller": self.distiller.state_dict() if self.distiller is not None else {},
            "generators": generator_states(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        # The course is this run's: it may have been prolonged, or changed on purpose.
        self.place = _Place(**{**state["place"], "course": self.place.course})
        self.optimizer.load_state_dict(state["optimizer"])
        if self.distiller is not None:
            self.distiller.load_state_dict(state["distiller"])
        restore_generators(state["generators"])

    def fit(self) -> bool:
        """Train to the end.

        Returns:
            False if the context asked to stop first; `last.pt` then holds the very step, or the epoch whose evaluation
            was given up.
        Raises:
            NonFiniteLossError: with epoch and step.
            StorageError: a checkpoint could not be written.
        """
        place = self.place
        if place.awaits_evaluation and not self._run_evaluation():
            return False
        while place.epoch < self.settings.epochs:
            if not self._run_epoch():
                self._save_last()
                return False
            is_last = place.epoch == self.settings.epochs
            place.awaits_evaluation = is_last or place.epoch % self.settings.evaluate_every == 0
            # Before the evaluation, which may take longer than the epoch and is not to cost it.
            self._save_last()
            if place.awaits_evaluation and not self._run_evaluation():
                return False
        return True

    def _run_epoch(self) -> bool:
        self.detector.train()
        place = self.place
        waits_since_s = time.perf_counter()
        for batch in self.loader.epoch(place.epoch, place.step_in_epoch):
            waited_s = time.perf_counter() - waits_since_s
            if self.context.should_stop():
                self._log_steps()
                return False
            self._run_step(batch.to(self._machine.device), waited_s)
            if time.monotonic() - self._saved_at_s > self.settings.checkpoint_every_s:
                self._save_last()
            waits_since_s = time.perf_counter()
        num_images = self.loader.steps_per_epoch * self.settings.batch_size
        means = {name: total / self.loader.steps_per_epoch for name, total in place.epoch_sums.items()}
        rate = num_images / place.epoch_train_s
        place.epoch += 1
        place.step_in_epoch, place.epoch_sums, place.epoch_train_s = 0, {}, 0.0
        self._log_steps()
        self.context.emit(
            EpochFinished(
                epoch=place.epoch,
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

    def _run_step(self, batch: Any, waited_s: float) -> None:
        started_s = time.perf_counter()
        rate = learning_rate(self.settings, self.step, self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        try:
            tensors = training_step(
                self.detector,
                self.distiller,
                self.optimizer,
                batch,
                clip_norm=self.settings.clip_norm,
                autocast_dtype=self._machine.autocast_dtype,
            )
        except NonFiniteLossError as error:
            # The steps just before are those that tell why.
            self._log_steps()
            error.details |= {"epoch": self.place.epoch + 1, "step": self.step + 1, "learning_rate": rate}
            raise
        values = _to_floats(tensors)
        place = self.place
        place.step_in_epoch += 1
        for name, value in values.items():
            place.epoch_sums[name] = place.epoch_sums.get(name, 0.0) + value
        elapsed_s = time.perf_counter() - started_s
        place.train_s += elapsed_s
        place.epoch_train_s += elapsed_s
        self._window.add(self.step, values, waited_s=waited_s, trained_s=elapsed_s)
        if self._window.is_due():
            self.context.emit(
                Progress(
                    epoch=place.epoch + 1,
                    epochs=self.settings.epochs,
                    step=self.step,
                    steps=self.steps,
                    images_per_s=self.settings.batch_size * self.step / place.train_s,
                    eta_s=self._eta_s(),
                    learning_rate=rate,
                    data_wait=self._window.data_wait,
                    values=self._window.take_means(),
                    **_gpu_memory(self._machine.device),
                )
            )
            # After the means, so that at this step too the curves end up with the step's own values.
            self._log_steps()

    def _log_steps(self) -> None:
        logged = self._window.take_steps()
        if logged is not None:
            self.context.emit(logged)

    def _run_evaluation(self) -> bool:
        """Score the newest epoch, and save what came of it; False if the context asked to stop first."""
        started_s = time.perf_counter()
        self.detector.eval()
        try:
            scores = self._evaluate(self.detector)
        except Stopped:
            return False
        self.detector.train()
        place = self.place
        place.evaluation_s = time.perf_counter() - started_s
        self.context.emit(Evaluated(epoch=place.epoch, step=self.step, scores=scores))
        # The first one is the best so far also where there is nothing to score, for a run leaves a best in any case.
        if place.best_epoch is None or (scores.ap or 0) > (place.best_ap or 0):
            place.best_ap, place.best_epoch = scores.ap, place.epoch
            self.context.emit(self.checkpoints.save_best(self._describe(scores, place.epoch, self.step)))
        place.awaits_evaluation = False
        self._save_last(scores, replaces=True)
        self._wait_for_verdict()
        return True

    def _wait_for_verdict(self) -> None:
        if isinstance(self.context, AwaitsVerdicts):
            self.context.wait_for_verdict()

    def _save_last(self, scores: Scores | None = None, *, replaces: bool = False) -> None:
        self._saved_at_s = time.monotonic()
        checkpoint = self._describe(scores, self.place.epoch, self.step)
        self.context.emit(self.checkpoints.save_last(checkpoint, self.state_dict(), replaces=replaces))

    def _eta_s(self) -> float | None:
        if self.step == 0:
            return None
        evaluations = -(-self.settings.epochs // self.settings.evaluate_every) - (
            self.place.epoch // self.settings.evaluate_every
        )
        return (self.steps - self.step) * self.place.train_s / self.step + evaluations * self.place.evaluation_s


class _Window:
    """The values since the previous progress event: their means, and each step's own."""

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
            # A term may come only now and then.
            column = self._columns.setdefault(name, [])
            column.extend([None] * (len(self._steps) - len(column)))
            column.append(value)
        self._steps.append(step)

    def take_steps(self) -> MetricsLogged | None:
        """What was added since it was last taken; None where that is nothing."""
        steps, columns = self._steps, self._columns
        self._steps, self._columns = [], {}
        for column in columns.values():
            column.extend([None] * (len(steps) - len(column)))
        return MetricsLogged(steps=steps, values=columns) if steps else None

    def is_due(self) -> bool:
        return time.monotonic() >= self._due_s

    @property
    def data_wait(self) -> float:
        """Part of the time of these steps that went by in waiting for images."""
        return self._waited_s / (self._waited_s + self._trained_s)

    def take_means(self) -> dict[str, float]:
        means = {name: total / self._count for name, total in self._sums.items()}
        self._sums, self._count = {}, 0
        self._waited_s = self._trained_s = 0.0
        self._due_s = time.monotonic() + _PROGRESS_EVERY_S
        return means


def _gpu_memory(device: torch.device) -> dict[str, int]:
    if device.type != "cuda":
        return {}
    return {
        "gpu_memory_bytes": torch.cuda.memory_allocated(device),
        "gpu_memory_peak_bytes": torch.cuda.max_memory_allocated(device),
    }


def _to_floats(values: dict[str, Tensor]) -> dict[str, float]:
    """One transfer from the device for all of them."""
    stacked = torch.stack([value.float() for value in values.values()]).tolist()
    return dict(zip(values, stacked, strict=True))
