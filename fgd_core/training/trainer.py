"""Trains a detector: the loop over epochs with steps, evaluations, checkpoints and events."""

import time
from collections.abc import Callable, Iterable, Mapping

from fgd_core.data.loading import Batch, TrainLoader
from fgd_core.detectors.base import Detector
from fgd_core.detectors.weights.checkpoint import Content, DetectorCheckpoint, Record
from fgd_core.errors import NonFiniteLossError, WeightsError
from fgd_core.methods.base import Moment
from fgd_core.ranks import from_first, is_first, world_size
from fgd_core.spec.events import (
    EndedEarly,
    EpochFinished,
    Evaluated,
    MeanEvaluated,
    Progress,
    Resumed,
    Warned,
)
from fgd_core.spec.results import Scores, TrainedWeights
from fgd_core.spec.training import TrainingSpec
from fgd_core.stopping import Stopped
from fgd_core.training import gpu_memory
from fgd_core.training.auto_scale import advise_scale
from fgd_core.training.averaging import Averages, num_evaluations
from fgd_core.training.beside import EvaluationBeside, Scored, has_room
from fgd_core.training.checkpoints import CHECKPOINTS, RunCheckpoints, SavedTraining
from fgd_core.training.context import AwaitsVerdicts, RunContext
from fgd_core.training.distiller import Distillation
from fgd_core.training.ending import Spent, exhausted, no_gain_is_left, still_ended
from fgd_core.training.identity import RunIdentity
from fgd_core.training.late_values import LateReader, LateValues
from fgd_core.training.machine import Machine, generator_states, restore_generators
from fgd_core.training.optimisation import Optimisation
from fgd_core.training.optimizers import learning_rate
from fgd_core.training.state import TrainingState
from fgd_core.training.step import checked
from fgd_core.training.transfer import Transfer
from fgd_core.training.window import NORM, StepWindow, means

_REPORTED_SINGLY = 10
"""The first bad steps have an event each; later ones, fewer and fewer."""


class Trainer:
    """Trains `detector` until its epochs are done or the context asks it to stop.

    Of several ranks, each has a trainer, and all are in the same state. Rank 0 saves it, and decides when to stop.

    Args:
        distiller: adds the distillation loss; None trains on labels only.
        evaluate: scores the detector, which is in eval mode, on the validation split.
        evaluate_beside: as `evaluate`, but called in another thread while the next epoch trains, where nothing waits
            for the score; None: never.
        describe: makes a checkpoint of a detector's present weights.
        identity: everything that the training depends on; checkpoints contain it.
        spent: what earlier attempts took whose training this one does not continue.
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
        describe: Callable[[Detector, Record], DetectorCheckpoint],
        machine: Machine,
        identity: RunIdentity,
        spent: Spent = Spent(),  # noqa: B008
        evaluate_beside: Callable[[Detector], Scores] | None = None,
    ) -> None:
        self.detector, self.distiller, self.loader = detector, distiller, loader
        self.settings, self.context = settings, context
        self._evaluate, self._describe = evaluate, describe
        self._machine = machine
        # Whether the training goes on may depend on each score; and ranks evaluate together.
        is_awaited = settings.early_stop is not None or isinstance(context, AwaitsVerdicts) or world_size() > 1
        self._may_be_beside = evaluate_beside is not None and not is_awaited
        self._beside = EvaluationBeside(evaluate_beside or evaluate, context.should_stop)
        self._averages = Averages(detector, settings)
        self._optimisation = Optimisation(detector, distiller, settings, machine)
        self.checkpoints = RunCheckpoints(context.job_dir / CHECKPOINTS)
        self.state = TrainingState(wall_s=spent.wall_s, gpu_s=spent.gpu_s, epoch_began_s=spent.wall_s, course=identity)
        self.steps = settings.epochs * loader.steps_per_epoch
        self._saved_at_s = self._counted_at_s = time.monotonic()
        self._window = StepWindow()
        self._transfer = Transfer(machine.device)
        # A bad step can be undone only before the next one has begun.
        self._late = LateReader(0 if settings.skip_bad_steps else machine.values_behind)

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
            self._averages.restore(found.checkpoint.state, found.training)
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

    def state_dict(self) -> Content:
        """Return all state but the weights that are evaluated. Schedule and data order are functions of this state."""
        return {
            "batch_size": self.settings.batch_size,
            "place": dict(vars(self.state)),
            **self._optimisation.state_dict(),
            "distiller": self.distiller.state_dict() if self.distiller is not None else {},
            "generators": generator_states(),
            **self._averages.state_dict(),
        }

    def load_state_dict(self, state: Content) -> None:
        """Restore what `state_dict` returned."""
        self.state = TrainingState.restored(state["place"], self.state.course)
        self._end_as_the_settings_say()
        self._optimisation.load_state_dict(state)
        if self.distiller is not None:
            self.distiller.load_state_dict(state["distiller"])
        restore_generators(state["generators"])

    def fit(self) -> bool:
        """Train to the last epoch, or until an early stop or the budget ends the training.

        Returns:
            False if the context asked to stop first; `last.pt` then holds exactly this step, or the epoch whose
            evaluation was stopped.
        Raises:
            NonFiniteLossError: the loss is not finite; the error names epoch and step.
            StorageError: a checkpoint could not be written.
        """
        try:
            return self._fit()
        finally:
            self._beside.close()

    def _fit(self) -> bool:
        state = self.state
        if state.awaits_evaluation and not self._run_evaluation():
            return False
        while not self._is_over:
            if not self._run_epoch():
                # Only the last checkpoint has the weights of an epoch that awaits its evaluation.
                if not state.awaits_evaluation:
                    self._save_last()
                return False
            self._apply_budget()
            state.awaits_evaluation = self._is_over or state.epoch % self.settings.evaluate_every == 0
            # Before the evaluation: it may take longer than the epoch, and must not cost it.
            self._save_last()
            if state.awaits_evaluation and not self._run_evaluation():
                return False
        return True

    @property
    def _is_over(self) -> bool:
        return self.state.epoch == self.settings.epochs or self.state.ended_by is not None

    def _run_epoch(self) -> bool:
        self.detector.train()
        state = self.state
        waits_since_s = time.perf_counter()
        for batch in self.loader.epoch(state.epoch, state.step_in_epoch):
            waited_s = time.perf_counter() - waits_since_s
            if from_first(self.context.should_stop):
                self._read(self._late.rest())
                self._log_steps()
                self._take_evaluation()
                return False
            self._run_step(self._transfer(batch), waited_s)
            is_scored = self._beside.is_done and self._take_evaluation()
            if is_scored or (self._is_checkpoint_due and not state.awaits_evaluation):
                self._read(self._late.rest())
                self._save_last()
            waits_since_s = time.perf_counter()
        self._read(self._late.rest())
        if not self._take_evaluation():
            return False
        num_images = self.loader.steps_per_epoch * self.settings.batch_size
        num_trained = self.loader.steps_per_epoch - state.skipped_in_epoch
        num_norms = num_trained - state.overflows_in_epoch
        values = means(state.epoch_sums, num_steps=num_trained, num_norms=num_norms)
        rate = num_images / state.epoch_train_s
        state.epoch += 1
        state.step_in_epoch = state.skipped_in_epoch = state.overflows_in_epoch = 0
        state.epoch_sums, state.epoch_train_s = {}, 0.0
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
                values=values,
            )
        )
        self._advise_scale(values)
        return True

    @property
    def _is_checkpoint_due(self) -> bool:
        return time.monotonic() - self._saved_at_s > self.settings.checkpoint_every_s

    def _run_step(self, batch: Batch, waited_s: float) -> None:
        """Train on one batch, and read the values of the step before; report progress about once a second."""
        started_s = time.perf_counter()
        state, rate = self.state, learning_rate(self.settings, self.step, self.steps)
        values = self._optimisation.step(batch, Moment(self.step, self.steps, self.settings.epochs), rate)
        state.step_in_epoch += 1
        self._late.add(LateValues(self.step, values, learning_rate=rate, waited_s=waited_s))
        num_skipped = state.skipped_steps
        self._read(self._late.due())
        elapsed_s = time.perf_counter() - started_s
        state.train_s += elapsed_s
        state.epoch_train_s += elapsed_s
        self._window.trained_s += elapsed_s
        if state.skipped_steps > num_skipped:
            return
        self._averages.after_step()
        self._report_news()
        if self._window.is_due():
            self._report_progress(rate)
            self._log_steps()

    def _report_news(self) -> None:
        for news in self.distiller.take_news() if self.distiller is not None else ():
            self.context.emit(news.model_copy(update={"epoch": self.state.epoch + 1, "step": self.step}))

    def _advise_scale(self, values: Mapping[str, float]) -> None:
        """Warn once if distillation and task are out of balance."""
        if self.state.is_advised or self.distiller is None or not self.distiller.has_fixed_scale:
            return
        advice = advise_scale(values)
        if advice is not None:
            self.state.is_advised = True
            message = f"in epoch {self.state.epoch} {advice}"
            self.context.emit(Warned(code="distillation_unbalanced", message=message))

    def _read(self, steps: Iterable[LateValues]) -> None:
        """Take in the values of steps that were launched, oldest first."""
        state = self.state
        for step in steps:
            try:
                values = checked(step.read())
            except NonFiniteLossError as error:
                # The values of the steps before this one show the cause.
                self._log_steps()
                error.details |= {"epoch": state.epoch + 1, "step": step.step, "learning_rate": step.learning_rate}
                if state.skipped_in_row == self.settings.skip_bad_steps:
                    raise
                self._skip(error)
                continue
            state.skipped_in_row = 0
            state.overflows_in_epoch += NORM not in values
            for name, value in values.items():
                state.epoch_sums[name] = state.epoch_sums.get(name, 0.0) + value
            self._window.add(step.step, values, waited_s=step.waited_s)

    def _skip(self, error: NonFiniteLossError) -> None:
        """Undo what a bad step has changed, count it, and report it."""
        self._optimisation.undo()
        state, limit = self.state, self.settings.skip_bad_steps
        state.skipped_steps, state.skipped_in_row = state.skipped_steps + 1, state.skipped_in_row + 1
        state.skipped_in_epoch += 1
        if _is_reported(state.skipped_steps):
            row = f"{state.skipped_in_row} of at most {limit} in a row, {state.skipped_steps} so far"
            message = f"step {error.details['step']} is skipped, {row}: {error.message}"
            self.context.emit(Warned(code="step_skipped", message=message, details=dict(error.details)))

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
                skipped_steps=self.state.skipped_steps,
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

    def _apply_budget(self) -> None:
        """End the training if its budget does not last for another epoch and its evaluation."""
        state, budget, gpus = self.state, self.settings.budget, self._gpus
        self._count_time()
        state.next_s = state.wall_s - state.epoch_began_s + state.evaluation_s
        state.epoch_began_s = state.wall_s
        if budget is not None and not self._is_over:
            spent, next_s = Spent(state.wall_s, state.gpu_s), state.next_s
            state.ended_by = from_first(lambda: exhausted(budget, spent, next_s=next_s, gpus=gpus))

    def _end_as_the_settings_say(self) -> None:
        """Let a restored training that ended early go on if its budget or patience has been raised."""
        state, spent = self.state, Spent(self.state.wall_s, self.state.gpu_s)
        state.ended_by = still_ended(
            state.ended_by, self.settings, aps=state.aps, spent=spent, next_s=state.next_s, gpus=self._gpus
        )

    def _count_time(self) -> None:
        now_s = time.monotonic()
        passed_s, self._counted_at_s = now_s - self._counted_at_s, now_s
        self.state.wall_s += passed_s
        self.state.gpu_s += passed_s * self._gpus

    @property
    def _gpus(self) -> int:
        """GPUs of all ranks."""
        return world_size() if self._machine.device.type == "cuda" else 0

    def _run_evaluation(self) -> bool:
        """Score the newest epoch and save the result, or begin to score it; return False if the context asked to stop
        first."""
        if self._may_be_beside and not self._is_over and has_room(self._machine.device):
            self._beside.start(self._averages.evaluated, self.step)
            self._averages.after_epoch(self.state.epoch)
            return True
        started_s = time.perf_counter()
        try:
            scores = self._score(self._averages.evaluated)
            self._averages.after_epoch(self.state.epoch)
            mean = self._averages.mean if self._is_over else None
            of_mean = self._score(mean.detector) if mean is not None else None
        except Stopped:
            return False
        self.detector.train()
        state = self.state
        self._record(Scored(self._averages.evaluated, scores, self.step, time.perf_counter() - started_s))
        if mean is not None and of_mean is not None:
            is_best = self._keep_if_best(Scored(mean.detector, of_mean, self.step, 0.0), "mean")
            self.context.emit(MeanEvaluated(num_epochs=mean.count, scores=of_mean, is_best=is_best))
        early_stop = self.settings.early_stop
        if early_stop is not None and not self._is_over and no_gain_is_left(early_stop, state.aps):
            state.ended_by = "early_stop"
        if state.ended_by is not None:
            self.context.emit(EndedEarly(epoch=state.epoch, step=self.step, reason=state.ended_by))
        self._save_last(scores, replaces=True)
        self._wait_for_verdict()
        return True

    def _take_evaluation(self) -> bool:
        """Wait for the evaluation of the epoch before, if it is not recorded; return False if it was stopped."""
        if self._beside.is_pending:
            try:
                self._record(self._beside.take())
            except Stopped:
                return False
        return True

    def _record(self, scored: Scored) -> None:
        """Report the evaluation of the newest epoch, and keep its weights if they are the best."""
        state, scores = self.state, scored.scores
        state.awaits_evaluation, state.evaluation_s = False, scored.took_s
        state.aps.append(scores.ap or 0.0)
        self.context.emit(Evaluated(epoch=state.epoch, step=scored.step, scores=scores))
        self._keep_if_best(scored, self._averages.kind)

    def _score(self, detector: Detector) -> Scores:
        detector.eval()
        return self._evaluate(detector)

    def _keep_if_best(self, scored: Scored, weights: TrainedWeights) -> bool:
        """Save the best checkpoint if no scores so far are higher; return whether it was saved."""
        state, scores = self.state, scored.scores
        # The first evaluation is the best even without a score, because every run must leave a best checkpoint.
        if state.best_epoch is not None and (scores.ap or 0) <= (state.best_ap or 0):
            return False
        state.best_ap, state.best_epoch = scores.ap, state.epoch
        if is_first():
            record = Record(scores=scores, epoch=state.epoch, step=scored.step, weights=weights)
            self.context.emit(self.checkpoints.save_best(self._describe(scored.detector, record)))
        return True

    def _wait_for_verdict(self) -> None:
        if isinstance(self.context, AwaitsVerdicts):
            self.context.wait_for_verdict()

    def _save_last(self, scores: Scores | None = None, *, replaces: bool = False) -> None:
        self._saved_at_s = time.monotonic()
        self._count_time()
        if not is_first():
            return
        record = Record(scores=scores, epoch=self.state.epoch, step=self.step, weights=self._averages.kind)
        checkpoint = self._describe(self._averages.evaluated, record)
        self.context.emit(self.checkpoints.save_last(checkpoint, self.state_dict(), replaces=replaces))

    def _eta_s(self) -> float | None:
        if self.step == 0:
            return None
        every = self.settings.evaluate_every
        evaluations = num_evaluations(self.settings.epochs, every) - self.state.epoch // every
        return (self.steps - self.step) * self.state.train_s / self.step + evaluations * self.state.evaluation_s


def _is_reported(number: int) -> bool:
    """Return whether the bad step of this number gets an event: the first ones, and then fewer and fewer."""
    return number <= _REPORTED_SINGLY or number.bit_count() == 1
