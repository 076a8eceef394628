"""Carries a study out: starts trials where there is room, brings it their reports, and tells what happened."""

import importlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import ray

from fgd_core.errors import FgdError, NetworkError
from fgd_core.spec.attempts import Assignment
from fgd_core.spec.events import RunEvent, RunFinished
from fgd_core.spec.jobs import DistillSpec, SweepSpec
from fgd_core.spec.results import ErrorReport
from fgd_core.spec.trials import STUDY_COMMAND, StudyLog, SweepProgressed, TrialEnd, TrialEvent, TrialStarted
from fgd_core.stopping import Stopped, checking_for_stop, raise_if_stopped
from fgd_core.training.context import RunContext
from workers.metrics.of_sweeps import SweepMetrics
from workers.reporting.context import HttpContext
from workers.tuning.executor import Executor, News, RayExecutor
from workers.tuning.study import Study, TrialState
from workers.tuning.trial import Share, Work
from workers.tuning.trial_files import ServerTrialFiles, SharedTrialFiles, TrialFiles

_NEWS_S = 1.0
_COMMANDS_EVERY_S = 2.0
_PROGRESS_EVERY_S = 2.0
_MAX_LOSSES = 5
_COMMANDS = frozenset({"trial_asked", "trial_stop_asked", "budget_raised"})


class SweepContext(RunContext, Protocol):
    """What a sweep asks beyond what every run does."""

    def study(self, after: int) -> StudyLog:
        """
        Raises:
            NetworkError: the control plane is away.
        """
        ...


@dataclass(frozen=True)
class Imported:
    """A function by name, so that who sends it need not load what it needs."""

    module: str
    name: str

    def __call__(self, *arguments: Any) -> Any:
        return getattr(importlib.import_module(self.module), self.name)(*arguments)


def _unobserved(event: RunEvent) -> None:
    return


def run(assignment: Assignment, context: HttpContext) -> RunFinished:
    """A sweep on the Ray cluster that this process is a job of."""
    with checking_for_stop(context.should_stop):
        try:
            return _run(assignment, context)
        except Stopped:
            # While it waited for the control plane: before its first trial, or after its last.
            return RunFinished(outcome="stopped")


def _run(assignment: Assignment, context: HttpContext) -> RunFinished:
    spec = assignment.spec
    assert isinstance(spec, SweepSpec)
    log = _log(context)
    ray.init(address="auto", namespace=f"fgd-{assignment.job_id}", ignore_reinit_error=True)
    try:
        executor = RayExecutor(
            Imported("fgd_core.runs", "execute"),
            spec.resources,
            name=f"{spec.name} {assignment.job_id}",
            max_workers=spec.concurrent_trials,
            share=_share(spec, assignment.job_id),
        )
        try:
            metrics = SweepMetrics(assignment, spec.objectives[0].metric)
            files = (
                ServerTrialFiles(context, context.server_files, job_id=assignment.job_id, number=assignment.number)
                if context.server_files is not None
                else None
            )
            return Driver(spec, context, executor, log, files=files, observe=metrics.observe).run()
        finally:
            executor.close()
    finally:
        ray.shutdown()


class Driver:
    """
    Args:
        log: what earlier attempts of this sweep did.
        files: where those of the trials lie; in the context's folder, unless given.
        observe: called with each event that is told.
        clock: seconds, from any beginning.
    """

    def __init__(
        self,
        spec: SweepSpec,
        context: SweepContext,
        executor: Executor,
        log: StudyLog,
        *,
        files: TrialFiles | None = None,
        observe: Callable[[RunEvent], None] = _unobserved,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._spec, self._context, self._executor, self._clock = spec, context, executor, clock
        self._observe = observe
        self._files = files or SharedTrialFiles(context)
        self._study = Study(spec, log.earlier)
        self._log = log
        self._began_s = clock() - log.seconds
        self._last_sequence = 0
        self._commands_s = self._progress_s = clock()
        self._told: SweepProgressed | None = None
        self._trials_s: dict[int, float] = {}
        """Training seconds of a trial before its present segment."""
        self._is_stopping = False

    def run(self) -> RunFinished:
        """Until the search is over, or the context asks to stop; what then ran is taken up by the next attempt."""
        self._replay()
        while True:
            if self._context.should_stop() and not self._is_stopping:
                self._is_stopping = True
                for trial in self._running():
                    self._executor.stop(trial.number)
            self._look_at_budget()
            if not self._is_stopping:
                self._begin()
            if not self._running() and (self._is_stopping or self._is_finished()):
                break
            for news in self._executor.news(_NEWS_S):
                self._take_in(news)
            self._ask_for_commands()
            self._tell_progress()
        if self._is_stopping and not self._study.is_finished:
            return RunFinished(outcome="stopped")
        self._tell_progress(at_once=True)
        return self._finish()

    def _is_finished(self) -> bool:
        if not self._study.is_finished:
            return False
        # What was asked for in the last moment is not to be lost.
        self._ask_for_commands(at_once=True)
        return self._study.is_finished

    def _tell(self, event: RunEvent) -> None:
        self._context.emit(event)
        self._observe(event)

    def _replay(self) -> None:
        for entry in self._log.entries:
            self._study.replay(entry.event)
            self._last_sequence = max(self._last_sequence, entry.sequence)
        for ended in self._study.interrupted():
            self._tell(ended)
        for event in self._study.fork():
            self._tell(event)

    def _begin(self) -> None:
        while (given_up := self._study.give_up()) is not None:
            self._tell(given_up)
        for _ in range(self._executor.room()):
            started = self._study.begin()
            if started is None:
                return
            self._start(started)

    def _start(self, started: TrialStarted) -> None:
        self._tell(started)
        self._files.settle()
        try:
            work = self._work(started)
        except (FgdError, ValueError, KeyError, OSError) as error:
            report = ErrorReport(code=getattr(error, "code", "spec"), message=str(error))
            self._tell(self._study.end(started.trial, "failed", error=report))
            return
        trial = self._study.trials[started.trial]
        self._trials_s[started.trial] = trial.train_s
        self._executor.start(work, f"{self._spec.name} trial {started.trial}")

    def _work(self, started: TrialStarted) -> Work:
        spec = self._spec.trial(started.values, seed=started.seed, name=f"{self._spec.name} trial {started.trial}")
        return Work(started.trial, started.segment, spec, self._files.home(started, spec))

    def _take_in(self, news: News) -> None:
        if news.update is None:
            self._lose(news)
            return
        for event in news.update.events:
            self._files.heard(news.trial, event)
            self._tell(TrialEvent(trial=news.trial, event=event.model_dump(mode="json")))
        if news.update.report is not None:
            report = news.update.report
            train_s = self._trials_s[news.trial] + report.train_s
            reported = self._study.judge(news.trial, report.epoch, report.scores, train_s)
            if reported is not None:
                self._tell(reported)
                # Nobody acts upon what the next attempt might not know of.
                self._files.settle()
            self._executor.answer(news.trial, reported.verdict if reported is not None else "continue")
        if news.update.finished is not None:
            self._end(self._study.trials[news.trial], news.update.finished)

    def _end(self, trial: TrialState, finished: RunFinished) -> None:
        cause: TrialEnd
        match finished.outcome:
            case "succeeded":
                cause = "completed"
            case "failed":
                cause = "failed"
            case _ if trial.verdict == "continue" and self._is_stopping:
                # Nothing is told of it: the next attempt lets it go on.
                trial.is_running = False
                return
            case _:
                cause = "paused" if trial.verdict == "pause" else "stopped"
        checkpoint = self._files.best(trial)
        self._tell(
            self._study.end(trial.number, cause, error=finished.error, result=finished.result, checkpoint=checkpoint)
        )
        if cause in ("completed", "stopped"):
            # Nothing goes on from here, now that this is known; of a hundred trials these would fill the disk.
            self._files.settle()
            self._files.free(trial)

    def _lose(self, news: News) -> None:
        trial = self._study.trials[news.trial]
        error = ErrorReport(code="lost_run", message=f"the trial's worker died: {news.cause}", retryable=True)
        cause: TrialEnd = "lost" if trial.losses < _MAX_LOSSES else "failed"
        self._tell(self._study.end(news.trial, cause, error=error))

    def _look_at_budget(self) -> None:
        wall_s, gpu_s = self._study.budget_s
        gpus_s = sum(trial.train_s for trial in self._study.trials.values()) * self._spec.resources.gpus
        if (wall_s is not None and self._clock() - self._began_s >= wall_s) or (gpu_s is not None and gpus_s >= gpu_s):
            self._study.out_of_time()

    def _ask_for_commands(self, *, at_once: bool = False) -> None:
        if not at_once and self._clock() - self._commands_s < _COMMANDS_EVERY_S:
            return
        self._commands_s = self._clock()
        try:
            log = self._context.study(self._last_sequence)
        except (NetworkError, FgdError):
            return
        for entry in log.entries:
            self._last_sequence = max(self._last_sequence, entry.sequence)
            if entry.event.kind in _COMMANDS:
                command = STUDY_COMMAND.validate_python(entry.event.model_dump())
                self._study.command(command)
                if command.kind == "trial_stop_asked" and any(t.number == command.trial for t in self._running()):
                    self._executor.stop(command.trial)

    def _tell_progress(self, *, at_once: bool = False) -> None:
        if not at_once and self._clock() - self._progress_s < _PROGRESS_EVERY_S:
            return
        self._progress_s = self._clock()
        trials = self._study.trials.values()
        best = self._study.best()
        done = sum(trial.is_over for trial in trials)
        progressed = SweepProgressed(
            running=[trial.number for trial in self._running()],
            done=done,
            planned=max(self._study.planned, done),
            epochs_done=self._study.epochs_done,
            best_trial=best.number if best is not None else None,
            best=best.objectives[0] if best is not None and best.objectives else None,
            eta_s=self._eta_s(done),
        )
        if progressed != self._told:
            self._told = progressed
            self._tell(progressed)

    def _eta_s(self, done: int) -> float | None:
        if not done:
            return None
        # A running trial counts for the part of it that is done.
        parts = sum(trial.epoch / trial.started.epochs for trial in self._running())
        elapsed_s = self._clock() - self._began_s
        return elapsed_s / (done + parts) * max(self._study.planned - done - parts, 0.0)

    def _finish(self) -> RunFinished:
        best = self._study.best()
        if best is None:
            failed = [trial for trial in self._study.trials.values() if trial.end == "failed"]
            message = f"no trial came to a result, {len(failed)} failed; see their errors"
            return RunFinished(outcome="failed", error=ErrorReport(code="no_trial_succeeded", message=message))
        checkpoint = best.checkpoint or self._files.look_for_best(best)
        if checkpoint is not None:
            self._tell(self._files.artifact(checkpoint))
        return RunFinished(outcome="succeeded", result=best.result)

    def _running(self) -> list[TrialState]:
        return [trial for trial in self._study.trials.values() if trial.is_running]


@dataclass(frozen=True)
class _Shared:
    """Opens, in a worker, what the trials of a sweep share."""

    sweep_id: str

    def __call__(self, trial: int, emit: Callable[[RunEvent], None]) -> Any:
        return self._teacher().source_for(trial, emit)

    def clear(self) -> None:
        self._teacher().clear()

    def _teacher(self) -> Any:
        return Imported("workers.tuning.shared_teacher", "SharedTeacher")(self.sweep_id)


def _share(spec: SweepSpec, sweep_id: str) -> Share | None:
    shares = spec.shared_teacher == "auto" and spec.concurrent_trials > 1 and isinstance(spec.base, DistillSpec)
    return _Shared(sweep_id) if shares else None


def _log(context: SweepContext) -> StudyLog:
    while True:
        try:
            return context.study(0)
        except NetworkError:
            raise_if_stopped()
            time.sleep(1.0)
