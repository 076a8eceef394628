"""The study: what a sweep has done, and what it does next. It has no clock and no I/O.

Live events and replayed events take the same code path in the same order. So a driver that was killed continues exactly
where it was: searcher and scheduler are functions of the calls that the study makes.
"""

from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from fgd_core.spec.kinds.distill import DistillSpec
from fgd_core.spec.kinds.sweep import SweepSpec, published
from fgd_core.spec.results import ErrorReport, RunResult, Scores
from fgd_core.spec.trials import (
    BudgetRaised,
    EarlierTrial,
    StudyCommand,
    StudyEvent,
    TrialAsked,
    TrialEnd,
    TrialEnded,
    TrialOrigin,
    TrialReported,
    TrialStarted,
    TrialStopAsked,
    Verdict,
)
from workers.tuning import objectives
from workers.tuning.intents import (
    ForkTrial,
    Intent,
    IntentQueue,
    PromoteTrial,
    RepeatTrial,
    ResumeTrial,
    StartTrial,
    StopTrial,
    SuggestTrial,
)
from workers.tuning.schedulers import Continuation, build_scheduler
from workers.tuning.searchers import build_searcher
from workers.tuning.space import Space
from workers.tuning.study_budget import StudyBudget
from workers.tuning.trial_state import SEARCHED, TrialState, ranked


class Study:
    """Decides which trials start, continue and end.

    Args:
        earlier: trials of other sweeps; the searcher learns from them, or the study counts them as its own.
    """

    def __init__(self, spec: SweepSpec, earlier: Sequence[EarlierTrial] = ()) -> None:
        self.spec = spec
        self.trials: dict[int, TrialState] = {}
        self._space = Space(spec.dimensions(), spec.base.model_dump(mode="json"))
        self._searcher = build_searcher(spec.searcher, self._space, spec.objectives, spec.seed)
        self._scheduler = build_scheduler(
            spec.scheduler_with_rung(), self._space, epochs=spec.base.training.epochs, seed=spec.seed
        )
        self._budget = StudyBudget(spec.budget)
        self._is_exhausted = False
        """True once the searcher has no more values."""
        self._intents = IntentQueue()
        self._to_stop: set[int] = set()
        """Trials that a user asked to stop; they end at their next report."""
        for trial in earlier:
            self._learn(trial)

    # -- decisions ---------------------------------------------------------------------------------------------------

    def begin(self) -> TrialStarted | None:
        """Start the next segment and return its event; None if there is nothing to start now."""
        while (intent := self._next_intent()) is not None:
            self._intents.discard(intent)
            started = self._started(intent)
            if started is not None:
                self._start(started)
                return started
            self._is_exhausted = True
            self._apply_scheduler()
        return None

    def stop_paused(self) -> TrialEnded | None:
        """End the next paused trial that will not continue, and return its event; None if there is none."""
        intent = self._intents.pop(StopTrial)
        return self.end(intent.trial, "stopped") if intent is not None else None

    @property
    def is_finished(self) -> bool:
        return self._intents.first(StopTrial) is None and not self.running and self._next_intent() is None

    def out_of_time(self) -> None:
        """Take note that the wall clock time or the GPU hours are used up."""
        self._budget.is_out_of_time = True
        self._apply_scheduler()

    def judge(self, number: int, epoch: int, scores: Scores, train_s: float) -> TrialReported | None:
        """Record the scores of a trial's epoch, and return them with a verdict; None if the epoch was reported before.

        Args:
            train_s: training seconds of the trial over all segments.
        """
        trial = self.trials[number]
        if epoch <= trial.epoch and trial.reports:
            return None
        values = objectives.of_scores(self.spec.objectives, scores)
        verdict = self._verdict(trial, epoch, values[0])
        reported = TrialReported(
            trial=number,
            segment=trial.started.segment,
            epoch=epoch,
            objectives=values,
            scores=scores,
            train_s=train_s,
            verdict=verdict,
            rung=self._scheduler.rung(number, epoch) if trial.origin in SEARCHED else None,
        )
        self._record(reported)
        return reported

    def end(
        self,
        number: int,
        cause: TrialEnd,
        *,
        error: ErrorReport | None = None,
        result: RunResult | None = None,
        checkpoint: str | None = None,
    ) -> TrialEnded:
        """Record the end of a trial's segment, and return its event."""
        trial = self.trials[number]
        values = None
        if cause == "completed":
            values = objectives.at_best(self.spec.objectives, trial.reports, result)
        ended = TrialEnded(
            trial=number,
            segment=trial.started.segment,
            cause=cause,
            epoch=trial.epoch,
            by_user=number in self._to_stop and cause == "stopped",
            error=error,
            result=result,
            checkpoint=checkpoint,
            objectives=values,
            machine=trial.machine,
        )
        self._finish(ended)
        return ended

    def command(self, command: StudyCommand) -> None:
        """Carry out a user's request."""
        match command:
            case TrialAsked():
                self._intents.add(StartTrial("user", dict(command.values)))
            case TrialStopAsked():
                trial = self.trials.get(command.trial)
                if trial is not None and not trial.is_over:
                    self._to_stop.add(trial.number)
                    if trial.end == "paused":
                        self._scheduler.ended(trial.number)
                        self._intents.add(StopTrial(trial.number))
            case BudgetRaised():
                self._budget.increase(command)
        self._apply_scheduler()

    # -- replay ------------------------------------------------------------------------------------------------------

    def replay(self, event: StudyEvent | StudyCommand) -> None:
        """Apply an event of an earlier attempt."""
        match event:
            case TrialStarted():
                self._replay_start(event)
            case TrialReported():
                trial = self.trials.get(event.trial)
                if trial is not None and not (event.epoch <= trial.epoch and trial.reports):
                    self._verdict(trial, event.epoch, event.objectives[0] if event.objectives else None)
                    self._record(event)
            case TrialEnded():
                if event.trial in self.trials and not self.trials[event.trial].is_over:
                    self._finish(event)
            case _:
                self.command(event)

    def resume_interrupted(self) -> list[TrialEnded]:
        """Resume the trials that were running at the last event; end those whose verdict was to pause or stop.

        Returns:
            The events of the trials that ended.
        """
        ended = []
        for trial in self.running:
            if trial.verdict == "continue":
                self._intents.add(ResumeTrial(trial.number))
                trial.is_running = False
            else:
                ended.append(self.end(trial.number, "paused" if trial.verdict == "pause" else "stopped"))
        return ended

    def fork(self) -> list[StudyEvent]:
        """Copy the trials of the sweep that this one forks, and return their events."""
        events: list[StudyEvent] = []
        while (intent := self._intents.pop(ForkTrial)) is not None:
            earlier = intent.earlier
            started = self._new("fork", dict(earlier.values), seed=earlier.seed)
            self._start(started)
            number = {"trial": started.trial, "segment": 0}
            reports = [report.model_copy(update={**number, "verdict": "continue"}) for report in earlier.reports]
            for report in reports:
                self._record(report)
            ended = earlier.ended.model_copy(update=number)
            self._finish(ended)
            events += [started, *reports, ended]
        return events

    # -- figures -----------------------------------------------------------------------------------------------------

    @property
    def running(self) -> list[TrialState]:
        return [trial for trial in self.trials.values() if trial.is_running]

    @property
    def budget_s(self) -> tuple[float | None, float | None]:
        """(wall clock, GPU time) that the search may use, in seconds; None is unlimited."""
        return self._budget.limits_s

    @property
    def epochs_done(self) -> int:
        """Epochs of the trials that the budget counts."""
        return sum(trial.epoch for trial in self.trials.values() if trial.origin in SEARCHED)

    @property
    def planned(self) -> int:
        """The number of trials in total, as currently planned."""
        searched = self._num_searched if self._is_search_over else max(self._num_searched, self._max_trials)
        num_baselines = len(self._baselines())
        num_repeats = (min(self.spec.finalists, searched) + num_baselines) * (self.spec.seeds - 1)
        by_user = sum(trial.origin == "user" for trial in self.trials.values())
        return searched + num_baselines + num_repeats + by_user + len(self._intents.all(StartTrial))

    def best(self) -> TrialState | None:
        """Return the best trial by the first objective. Baselines count: one of them may be the best choice."""
        found = self._ranked([trial for trial in self.trials.values() if trial.origin != "finalist"])
        return found[0] if found else None

    def best_complete(self) -> TrialState | None:
        """Return the best trial that trained to its end; None if none did."""
        complete = [trial for trial in self.trials.values() if trial.end == "completed" and trial.origin != "finalist"]
        return next(iter(self._ranked(complete)), None)

    # -- which intent is next ----------------------------------------------------------------------------------------

    def _next_intent(self) -> Intent | None:
        """Decide what to start next; changes nothing."""
        queued = self._intents.first(ResumeTrial) or self._intents.first(StartTrial)
        if queued is not None:
            return queued
        if self._intents.first(ForkTrial) is not None:
            return None
        for origin, values in self._baselines().items():
            if not any(trial.origin == origin for trial in self.trials.values()):
                return StartTrial(origin, values)
        promotion = self._intents.first(PromoteTrial)
        if promotion is not None and not self._is_spent:
            return promotion
        if not self._is_search_over:
            return SuggestTrial()
        return self._next_repeat()

    def _next_repeat(self) -> RepeatTrial | None:
        is_searching = any(trial.origin in SEARCHED for trial in self.running)
        if is_searching or self._intents.first(PromoteTrial) is not None:
            return None
        if any(trial.end == "paused" for trial in self.trials.values()):
            return None
        complete = [trial for trial in self.trials.values() if trial.end == "completed"]
        searched = self._ranked([trial for trial in complete if trial.origin in (*SEARCHED, "fork")])
        baselines = [trial for trial in complete if trial.origin in ("plain", "published")]
        # If the search ended before any trial did, the best one is still trained to its end, with a fresh seed.
        unchecked = [] if searched else self._stopped()[:1]
        for extra in range(1, max(self.spec.seeds, 1 + len(unchecked))):
            to_repeat = (*baselines, *searched[: self.spec.finalists]) if extra < self.spec.seeds else ()
            for trial in (*to_repeat, *unchecked):
                seed = self.spec.seed + extra
                if seed == trial.seed:
                    # A forked trial: a repeat of the very run that selected it gives no new information.
                    seed = self.spec.seed
                if not any(each.repeats == trial.number and each.seed == seed for each in self.trials.values()):
                    return RepeatTrial(trial.number, seed)
        return None

    def _stopped(self) -> list[TrialState]:
        """Trials of the search that the scheduler or the budget stopped, best first."""
        trials = self.trials.values()
        ended = [trial for trial in trials if trial.origin in SEARCHED and trial.end == "stopped"]
        return self._ranked([trial for trial in ended if trial.number not in self._to_stop])

    @property
    def _num_searched(self) -> int:
        return sum(trial.origin in ("searcher", "fork") for trial in self.trials.values())

    @property
    def _max_trials(self) -> int:
        return self._budget.max_trials(self._scheduler.max_trials)

    @property
    def _is_spent(self) -> bool:
        return self._budget.is_spent(self.epochs_done)

    @property
    def _is_search_over(self) -> bool:
        return self._is_spent or self._is_exhausted or self._num_searched >= self._max_trials

    # -- how an intent starts a segment ------------------------------------------------------------------------------

    def _started(self, intent: Intent) -> TrialStarted | None:
        """Return the event of the segment that an intent starts; None if the searcher has no more values."""
        match intent:
            case ResumeTrial():
                trial = self.trials[intent.trial]
                return trial.started.model_copy(update={"is_resumed": True, "from_epoch": trial.epoch})
            case StartTrial():
                return self._new(intent.origin, intent.values)
            case PromoteTrial():
                return self._promoted(intent)
            case SuggestTrial():
                values = self._searcher.ask(len(self.trials))
                return None if values is None else self._new("searcher", values)
            case RepeatTrial():
                values = dict(self.trials[intent.trial].values)
                return self._new("finalist", values, seed=intent.seed, repeats=intent.trial)
        raise AssertionError(f"{intent} starts no segment")

    def _new(
        self, origin: TrialOrigin, values: dict[str, JsonValue], *, seed: int | None = None, repeats: int | None = None
    ) -> TrialStarted:
        epochs = values.get("training.epochs", self.spec.base.training.epochs)
        assert isinstance(epochs, int)
        return TrialStarted(
            trial=len(self.trials),
            origin=origin,
            values=values,
            seed=self.spec.seed if seed is None else seed,
            repeats=repeats,
            epochs=epochs,
        )

    def _promoted(self, intent: PromoteTrial) -> TrialStarted:
        trial = self.trials[intent.trial]
        return TrialStarted(
            trial=trial.number,
            segment=trial.started.segment + 1,
            origin=trial.origin,
            values=trial.values if intent.values is None else intent.values,
            seed=trial.seed,
            goes_on_from=intent.source,
            from_epoch=intent.from_epoch,
            epochs=trial.started.epochs,
        )

    # -- how events change the state ---------------------------------------------------------------------------------

    def _start(self, started: TrialStarted) -> None:
        known = self.trials.get(started.trial)
        if known is None:
            self.trials[started.trial] = TrialState(
                number=started.trial,
                origin=started.origin,
                values=dict(started.values),
                seed=started.seed,
                repeats=started.repeats,
                started=started,
            )
        else:
            known.started, known.values = started, dict(started.values)
            known.is_running, known.end, known.verdict = True, None, "continue"
        if started.origin in SEARCHED and not started.is_resumed:
            if started.origin == "user":
                self._searcher.asked(started.trial, started.values)
            self._scheduler.add(started.trial, started.values)
        self._apply_scheduler()

    def _replay_start(self, started: TrialStarted) -> None:
        """Apply a start of an earlier attempt, without the intent that led to it."""
        if started.is_resumed:
            if started.trial in self.trials:
                self._intents.discard_of(ResumeTrial, started.trial)
                self._start(started)
            return
        if started.segment:
            self._intents.discard_of(PromoteTrial, started.trial)
        elif started.origin == "searcher":
            values = self._searcher.ask(started.trial)
            if values != started.values:
                # Another version of the searcher suggested other values; the values that were run count.
                self._searcher.tell(started.trial, None, is_complete=False)
                self._searcher.asked(started.trial, started.values)
        elif started.origin == "user":
            self._intents.pop(StartTrial)
        elif started.origin == "fork":
            self._intents.pop(ForkTrial)
        self._start(started)

    def _verdict(self, trial: TrialState, epoch: int, value: float | None) -> Verdict:
        """Report a value to searcher and scheduler, and decide whether the trial continues."""
        if trial.origin not in SEARCHED:
            return "continue"
        verdict: Verdict = "continue"
        if value is not None:
            objective = self.spec.objectives[0]
            self._searcher.report(trial.number, epoch, value)
            if len(self.spec.objectives) == 1:
                signed = value if objective.direction == "maximize" else -value
                verdict = self._scheduler.report(trial.number, epoch, signed)
        if epoch >= trial.started.epochs:
            return "continue"
        is_spent = self._is_spent or self._budget.has_no_epochs_after(self.epochs_done + epoch - trial.epoch)
        return "stop" if is_spent or trial.number in self._to_stop else verdict

    def _record(self, reported: TrialReported) -> None:
        trial = self.trials[reported.trial]
        trial.reports.append(reported)
        trial.epoch, trial.train_s, trial.verdict = reported.epoch, reported.train_s, reported.verdict
        trial.objectives = objectives.at_best(self.spec.objectives, trial.reports, None)

    def _finish(self, ended: TrialEnded) -> None:
        trial = self.trials[ended.trial]
        trial.is_running, trial.end, trial.epoch = False, ended.cause, ended.epoch
        if ended.objectives is not None:
            trial.objectives = ended.objectives
        trial.result = ended.result or trial.result
        trial.checkpoint = ended.checkpoint or trial.checkpoint
        if ended.cause == "lost":
            trial.losses += 1
            self._intents.add(ResumeTrial(trial.number))
        elif ended.cause != "paused" and trial.origin in SEARCHED:
            self._intents.discard_of(StopTrial, trial.number)
            self._scheduler.ended(trial.number)
            reached = trial.objectives if ended.cause in ("completed", "stopped") else None
            known = [value for value in reached if value is not None] if reached is not None else []
            is_known = reached is not None and len(known) == len(reached)
            self._searcher.tell(trial.number, known if is_known else None, is_complete=ended.cause == "completed")
        self._apply_scheduler()

    def _apply_scheduler(self) -> None:
        """Queue what the scheduler decides about paused trials. Live and replayed events call it at the same points."""
        if self._is_search_over:
            self._scheduler.close()
        continuations, stopped = self._scheduler.next()
        self._intents.add(*map(self._promotion, continuations))
        self._intents.add(*map(StopTrial, stopped))
        if self._is_spent:
            for promotion in self._intents.all(PromoteTrial):
                self._intents.discard(promotion)
                self._intents.add(StopTrial(promotion.trial))

    def _promotion(self, continuation: Continuation) -> PromoteTrial:
        parent = self.trials[continuation.from_trial]
        source = (parent.number, parent.started.segment)
        return PromoteTrial(continuation.trial, source, parent.epoch, continuation.values)

    def _learn(self, earlier: EarlierTrial) -> None:
        values = earlier.ended.objectives
        if not self._space.contains(earlier.values) or values is None or None in values:
            return
        self._searcher.learn(earlier.values, [value for value in values if value is not None])
        if earlier.counts:
            self._intents.add(ForkTrial(earlier))

    def _baselines(self) -> Mapping[TrialOrigin, dict[str, JsonValue]]:
        if not self.spec.baselines or not isinstance(self.spec.base, DistillSpec):
            return {}
        values: dict[str, JsonValue] = {f"method.{name}": value for name, value in published(self.spec.base).items()}
        own = self.spec.base.method.model_dump(mode="json")
        differing = {path: value for path, value in values.items() if own[path.removeprefix("method.")] != value}
        return {"plain": {"method.scale": 0.0}, "published": differing}

    def _ranked(self, trials: Sequence[TrialState]) -> list[TrialState]:
        return ranked(trials, self.spec.objectives[0])
