"""The driver of a study: it says what starts, passes the trials' messages to the study, and emits the events.

It does not run trials: an `Executor` asks it for tasks and hands it the messages. On a cluster that is Ray Tune.
"""

import time
from collections.abc import Callable
from typing import Protocol

from fgd_core.errors import FgdError
from fgd_core.spec.event_text import values_text
from fgd_core.spec.events import DeviceReady, RunEvent, RunFinished
from fgd_core.spec.kinds.sweep import SweepSpec
from fgd_core.spec.results import ErrorReport
from fgd_core.spec.trials import STUDY_COMMAND, StudyLog, SweepProgressed, TrialEnd, TrialEvent, TrialStarted, Verdict
from fgd_core.training.context import RunContext
from workers.remote.messages import Report
from workers.tuning.messages import TrialMessage, TrialTask
from workers.tuning.study import Study
from workers.tuning.trial_files import SharedTrialFiles, TrialFiles
from workers.tuning.trial_state import TrialState

_COMMANDS_EVERY_S = 2.0
_PROGRESS_EVERY_S = 2.0
_MAX_LOSSES = 5
_COMMANDS = frozenset({"trial_asked", "trial_stop_asked", "budget_raised"})


class SweepContext(RunContext, Protocol):
    """The context of a sweep: it also reads the sweep's stored events."""

    def study(self, after: int) -> StudyLog:
        """Fetch the events whose sequence is greater than `after`.

        Raises:
            NetworkError: the control plane cannot be reached.
        """


class Executor(Protocol):
    """Runs trials."""

    def run(self, driver: "Driver") -> None:
        """Ask the driver for tasks and pass it the messages of their trials until it is over."""


def _ignore(event: RunEvent) -> None:
    return


class Driver:
    """Carries out the decisions of a study. An executor calls all its methods in one thread.

    Args:
        log: the events of the sweep's earlier attempts.
        files: the trials' files; in the context's folder, unless given.
        observe: called with each emitted event.
        clock: returns seconds since any moment.
    """

    def __init__(
        self,
        spec: SweepSpec,
        context: SweepContext,
        log: StudyLog,
        *,
        files: TrialFiles | None = None,
        observe: Callable[[RunEvent], None] = _ignore,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._spec, self._context, self._clock = spec, context, clock
        self._observe = observe
        self._files = files or SharedTrialFiles(context)
        self._study = Study(spec, log.earlier)
        self._log = log
        self._began_s = clock() - log.seconds
        self._last_sequence = 0
        self._commands_s = self._progress_s = clock()
        self._progress: SweepProgressed | None = None
        """The newest one that was emitted."""
        self._earlier_train_s: dict[int, float] = {}
        """Training seconds of a trial before its current segment."""
        self._to_stop: set[int] = set()
        """Running trials that a user asked to stop."""
        self.is_stopping = False
        """True once the sweep was asked to stop; every trial then saves a checkpoint and ends."""

    def run(self, executor: Executor) -> RunFinished:
        """Run until the search is over or the context asks to stop; the next attempt resumes trials that still ran."""
        self._replay()
        executor.run(self)
        if self.is_stopping and not self._study.is_finished:
            return RunFinished(outcome="stopped")
        self._emit_progress(at_once=True)
        return self._finish()

    # -- what the executor calls -------------------------------------------------------------------------------------

    @property
    def is_over(self) -> bool:
        """True when no trial runs and none will start."""
        return not self._study.running and (self.is_stopping or self._is_finished())

    def tick(self) -> None:
        """Read what the control plane asks, and emit the progress; to be called about once a second or more often."""
        self.is_stopping = self.is_stopping or self._context.should_stop()
        self._check_budget()
        self._fetch_commands()
        self._emit_progress()

    def begin(self) -> TrialTask | None:
        """Start the next segment of a trial and return its task; None if there is nothing to start now."""
        if self.is_stopping:
            return None
        while (ended := self._study.stop_paused()) is not None:
            self._emit(ended)
        while (started := self._study.begin()) is not None:
            task = self._start(started)
            if task is not None:
                return task
        return None

    def handle(self, message: TrialMessage) -> Verdict | None:
        """Record a trial's message, and return the verdict on its report; None if it has none."""
        if message.update is None:
            self._mark_lost(message)
            return None
        for event in message.update.events:
            self._files.observe(message.trial, event)
            if isinstance(event, DeviceReady):
                self._study.trials[message.trial].machine = event.machine
            self._emit(TrialEvent(trial=message.trial, event=event.model_dump(mode="json")))
        report, finished = message.update.report, message.update.finished
        verdict = self._judge(message.trial, report) if report is not None else None
        if finished is not None:
            self._end(self._study.trials[message.trial], finished)
        return verdict

    def should_stop(self, trial: int) -> bool:
        """Return True if a running trial must save a checkpoint and end, whatever its reports are."""
        return self.is_stopping or trial in self._to_stop

    def _emit(self, event: RunEvent) -> None:
        self._context.emit(event)
        self._observe(event)

    def _replay(self) -> None:
        for entry in self._log.entries:
            self._study.replay(entry.event)
            self._last_sequence = max(self._last_sequence, entry.sequence)
        for ended in self._study.resume_interrupted():
            self._emit(ended)
        for event in self._study.fork():
            self._emit(event)

    def _is_finished(self) -> bool:
        if not self._study.is_finished:
            return False
        # A user's request at the last moment must not be lost.
        self._fetch_commands(at_once=True)
        return self._study.is_finished

    def _check_budget(self) -> None:
        wall_s, gpu_s = self._study.budget_s
        gpus_s = sum(trial.train_s for trial in self._study.trials.values()) * self._spec.resources.all_gpus
        if (wall_s is not None and self._clock() - self._began_s >= wall_s) or (gpu_s is not None and gpus_s >= gpu_s):
            self._study.out_of_time()

    # -- trials ------------------------------------------------------------------------------------------------------

    def _start(self, started: TrialStarted) -> TrialTask | None:
        self._emit(started)
        self._files.flush()
        try:
            task = self._task(started)
        except (FgdError, ValueError, KeyError, OSError) as error:
            report = ErrorReport(code=getattr(error, "code", "spec"), message=str(error))
            self._emit(self._study.end(started.trial, "failed", error=report))
            return None
        self._earlier_train_s[started.trial] = self._study.trials[started.trial].train_s
        return task

    def _task(self, started: TrialStarted) -> TrialTask:
        spec = self._spec.trial(started.values, seed=started.seed, name=f"{self._spec.name} trial {started.trial}")
        workspace = self._files.workspace(started, spec)
        return TrialTask(started.trial, started.segment, spec, workspace, values_text(started.values, ", "))

    def _judge(self, trial: int, report: Report) -> Verdict:
        train_s = self._earlier_train_s[trial] + report.train_s
        reported = self._study.judge(trial, report.epoch, report.scores, train_s)
        if reported is None:
            return "continue"
        self._emit(reported)
        # No trial acts on a verdict that the next attempt might not know.
        self._files.flush()
        return reported.verdict

    def _end(self, trial: TrialState, finished: RunFinished) -> None:
        cause: TrialEnd
        self._to_stop.discard(trial.number)
        match finished.outcome:
            case "succeeded":
                cause = "completed"
            case "failed":
                cause = "failed"
            case _ if trial.verdict == "continue" and self.is_stopping:
                # No event: the next attempt resumes this trial.
                trial.is_running = False
                return
            case _:
                cause = "paused" if trial.verdict == "pause" else "stopped"
        checkpoint = self._files.best(trial)
        self._emit(
            self._study.end(trial.number, cause, error=finished.error, result=finished.result, checkpoint=checkpoint)
        )
        if cause in ("completed", "stopped"):
            # No trial continues from this checkpoint, once the event is stored. A hundred of these would fill the disk.
            self._files.flush()
            self._files.free(trial)

    def _mark_lost(self, message: TrialMessage) -> None:
        trial = self._study.trials[message.trial]
        error = ErrorReport(code="lost_run", message=f"the trial's worker died: {message.cause}", retryable=True)
        cause: TrialEnd = "lost" if trial.losses < _MAX_LOSSES else "failed"
        self._emit(self._study.end(message.trial, cause, error=error))

    # -- commands and progress ---------------------------------------------------------------------------------------

    def _fetch_commands(self, *, at_once: bool = False) -> None:
        if not at_once and self._clock() - self._commands_s < _COMMANDS_EVERY_S:
            return
        self._commands_s = self._clock()
        try:
            log = self._context.study(self._last_sequence)
        except FgdError:
            return
        for entry in log.entries:
            self._last_sequence = max(self._last_sequence, entry.sequence)
            if entry.event.kind in _COMMANDS:
                command = STUDY_COMMAND.validate_python(entry.event.model_dump())
                self._study.command(command)
                if command.kind == "trial_stop_asked" and any(t.number == command.trial for t in self._study.running):
                    self._to_stop.add(command.trial)

    def _emit_progress(self, *, at_once: bool = False) -> None:
        if not at_once and self._clock() - self._progress_s < _PROGRESS_EVERY_S:
            return
        self._progress_s = self._clock()
        trials = self._study.trials.values()
        best = self._study.best()
        done = sum(trial.is_over for trial in trials)
        progress = SweepProgressed(
            running=[trial.number for trial in self._study.running],
            done=done,
            planned=max(self._study.planned, done),
            epochs_done=self._study.epochs_done,
            best_trial=best.number if best is not None else None,
            best=best.objectives[0] if best is not None and best.objectives else None,
            eta_s=self._eta_s(done),
        )
        if progress != self._progress:
            self._progress = progress
            self._emit(progress)

    def _eta_s(self, done: int) -> float | None:
        if not done:
            return None
        # A running trial counts as the fraction of its epochs that is done.
        parts = sum(trial.epoch / trial.started.epochs for trial in self._study.running)
        elapsed_s = self._clock() - self._began_s
        return elapsed_s / (done + parts) * max(self._study.planned - done - parts, 0.0)

    def _finish(self) -> RunFinished:
        best = self._study.best_complete() or self._study.best()
        if best is None:
            failed = [trial for trial in self._study.trials.values() if trial.end == "failed"]
            message = f"no trial has a result, and {len(failed)} failed; see the errors of the trials"
            return RunFinished(outcome="failed", error=ErrorReport(code="no_trial_succeeded", message=message))
        checkpoint = best.checkpoint or self._files.find_best(best)
        if checkpoint is not None:
            self._emit(self._files.artifact(checkpoint))
        return RunFinished(outcome="succeeded", result=best.result)
