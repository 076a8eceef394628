"""The study: what a sweep has done and what it does next. No clock, no I/O; rebuilt from the sweep's events.

Each event is taken in by the same code when it happens and when it is read again, in the same order, so that a driver
that was killed goes on exactly where it was: searcher and scheduler are functions of what they were told.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import JsonValue

from fgd_core.spec.jobs import DistillSpec, SweepSpec, published
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
from workers.tuning.schedulers import Continuation, build_scheduler
from workers.tuning.searchers import build_searcher
from workers.tuning.space import Space

SEARCHED: frozenset[TrialOrigin] = frozenset({"searcher", "user"})
"""Trials that the scheduler rules and the budget counts; baselines and repetitions are trained to their end."""


@dataclass(frozen=True)
class _GoesOn:
    """A continuation as it was when all that it rests on rested."""

    trial: int
    source: tuple[int, int]
    from_epoch: int
    values: dict[str, JsonValue] | None


@dataclass
class TrialState:
    number: int
    origin: TrialOrigin
    values: dict[str, JsonValue]
    seed: int
    repeats: int | None
    started: TrialStarted
    """Its newest segment."""
    is_running: bool = True
    end: TrialEnd | None = None
    """How its newest segment ended; None while it runs."""
    epoch: int = 0
    train_s: float = 0.0
    losses: int = 0
    """Workers that died under it."""
    verdict: Verdict = "continue"
    """At its newest report."""
    reports: list[TrialReported] = field(default_factory=list)
    objectives: list[float | None] | None = None
    """At its best, once there is something."""
    result: RunResult | None = None
    checkpoint: str | None = None

    @property
    def is_over(self) -> bool:
        return self.end not in (None, "paused", "lost")


class Study:
    """
    Args:
        spec: of the sweep.
        earlier: trials of other sweeps: to learn from, or to count as this one's.
    """

    def __init__(self, spec: SweepSpec, earlier: Sequence[EarlierTrial] = ()) -> None:
        self.spec = spec
        self.trials: dict[int, TrialState] = {}
        self._space = Space(spec.dimensions(), spec.base.model_dump(mode="json"))
        self._searcher = build_searcher(spec.searcher, self._space, spec.objectives, spec.seed)
        self._scheduler = build_scheduler(spec.scheduler, self._space, epochs=spec.base.training.epochs, seed=spec.seed)
        self._budget = spec.budget
        self._is_exhausted = False
        self._is_out_of_time = False
        self._continuations: deque[_GoesOn] = deque()
        self._given_up: deque[int] = deque()
        self._asked: deque[TrialAsked] = deque()
        self._interrupted: deque[int] = deque()
        self._to_stop: set[int] = set()
        self._forked: deque[EarlierTrial] = deque()
        for trial in earlier:
            self._take_over(trial)

    # -- what is done next -------------------------------------------------------------------------------------------

    def begin(self) -> TrialStarted | None:
        """The next segment to run, taken in already; None: there is none for now."""
        started = self._next()
        if started is not None:
            self._start(started)
        return started

    def give_up(self) -> TrialEnded | None:
        """A trial that rested and does not go on, taken in already."""
        if not self._given_up:
            return None
        trial = self.trials[self._given_up.popleft()]
        return self.end(trial.number, "stopped")

    @property
    def is_finished(self) -> bool:
        return not self._given_up and not self._running and self._next(peek=True) is None

    def out_of_time(self) -> None:
        """The wall clock, or the GPU hours, are used up."""
        self._is_out_of_time = True
        self._pull()

    def judge(self, number: int, epoch: int, scores: Scores, train_s: float) -> TrialReported | None:
        """Take in what a trial reached; None where it had said so before."""
        trial = self.trials[number]
        if epoch <= trial.epoch and trial.reports:
            return None
        values = objectives.of_scores(self.spec.objectives, scores)
        rung, verdict = None, self._verdict(trial, epoch, values[0])
        if trial.origin in SEARCHED:
            rung = self._scheduler.rung(number, epoch)
        reported = TrialReported(
            trial=number,
            segment=trial.started.segment,
            epoch=epoch,
            objectives=values,
            scores=scores,
            train_s=train_s,
            verdict=verdict,
            rung=rung,
        )
        self._note(reported)
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
        """Take in that a segment is over."""
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
        )
        self._finish(ended)
        return ended

    def command(self, command: StudyCommand) -> None:
        """Something that a person asked for."""
        match command:
            case TrialAsked():
                self._asked.append(command)
            case TrialStopAsked():
                if command.trial in self.trials and not self.trials[command.trial].is_over:
                    self._to_stop.add(command.trial)
                    if self.trials[command.trial].end == "paused":
                        self._scheduler.ended(command.trial)
                        self._given_up.append(command.trial)
            case BudgetRaised():
                budget = self._budget
                self._budget = budget.model_copy(
                    update={
                        "trials": budget.trials + command.trials,
                        "epochs": _more(budget.epochs, command.epochs),
                        "gpu_hours": _more(budget.gpu_hours, command.gpu_hours),
                        "wall_clock_s": _more(budget.wall_clock_s, command.wall_clock_s),
                    }
                )
                self._is_out_of_time = False
        self._pull()

    # -- from the log ------------------------------------------------------------------------------------------------

    def replay(self, event: StudyEvent | StudyCommand) -> None:
        """Take in an event of an earlier attempt."""
        match event:
            case TrialStarted():
                self._replay_start(event)
            case TrialReported():
                trial = self.trials.get(event.trial)
                if trial is not None and not (event.epoch <= trial.epoch and trial.reports):
                    self._verdict(trial, event.epoch, event.objectives[0] if event.objectives else None)
                    self._note(event)
            case TrialEnded():
                if event.trial in self.trials and not self.trials[event.trial].is_over:
                    self._finish(event)
            case _:
                self.command(event)

    def interrupted(self) -> list[TrialEnded]:
        """After the last event: have the trials that ran then go on; those whose verdict was to rest or stop end."""
        ended = []
        for trial in self._running:
            if trial.verdict == "continue":
                self._interrupted.append(trial.number)
                trial.is_running = False
            else:
                ended.append(self.end(trial.number, "paused" if trial.verdict == "pause" else "stopped"))
        return ended

    # -- figures -----------------------------------------------------------------------------------------------------

    @property
    def budget_s(self) -> tuple[float | None, float | None]:
        """(wall clock, GPU time) that the search may take, in seconds."""
        hours = self._budget.gpu_hours
        return self._budget.wall_clock_s, hours * 3600 if hours is not None else None

    @property
    def epochs_done(self) -> int:
        """Of trials that the budget counts."""
        return sum(trial.epoch for trial in self.trials.values() if trial.origin in SEARCHED)

    @property
    def planned(self) -> int:
        """Trials in all, as far as it can be told."""
        searched = self._num_searched if self._is_search_over else max(self._num_searched, self._max_trials)
        num_baselines = len(self._baselines())
        finals = (min(self.spec.finalists, searched) + num_baselines) * (self.spec.seeds - 1)
        by_user = sum(trial.origin == "user" for trial in self.trials.values())
        return searched + num_baselines + finals + by_user + len(self._asked)

    def best(self) -> TrialState | None:
        """By the first objective; baselines count, for one of them may be the thing to use."""
        ranked = self._ranked([trial for trial in self.trials.values() if trial.origin != "finalist"])
        return ranked[0] if ranked else None

    # -- inside ------------------------------------------------------------------------------------------------------

    @property
    def _running(self) -> list[TrialState]:
        return [trial for trial in self.trials.values() if trial.is_running]

    @property
    def _num_searched(self) -> int:
        return sum(trial.origin in ("searcher", "fork") for trial in self.trials.values())

    @property
    def _max_trials(self) -> int:
        most = self._scheduler.max_trials
        return min(self._budget.trials, most) if most is not None else self._budget.trials

    @property
    def _is_spent(self) -> bool:
        epochs = self._budget.epochs
        return self._is_out_of_time or (epochs is not None and self.epochs_done >= epochs)

    @property
    def _is_search_over(self) -> bool:
        return self._is_spent or self._is_exhausted or self._num_searched >= self._max_trials

    def _next(self, *, peek: bool = False) -> TrialStarted | None:
        """
        Args:
            peek: leave everything as it is; what comes out is only fit to be compared with None.
        """
        queue = self._interrupted
        if queue:
            trial = self.trials[queue[0] if peek else queue.popleft()]
            return trial.started.model_copy(update={"is_resumed": True, "from_epoch": trial.epoch})
        if self._asked:
            asked = self._asked[0] if peek else self._asked.popleft()
            return self._new("user", dict(asked.values))
        if self._forked:
            return None
        for origin, values in self._baselines().items():
            if not any(trial.origin == origin for trial in self.trials.values()):
                return self._new(origin, values)
        if self._continuations and not self._is_spent:
            return self._continue(self._continuations[0] if peek else self._continuations.popleft())
        if not self._is_search_over:
            if peek:
                return self._new("searcher", {})
            values_ = self._searcher.ask(len(self.trials))
            if values_ is not None:
                return self._new("searcher", values_)
            self._is_exhausted = True
            self._pull()
            return self._next()
        return self._next_repetition()

    def _next_repetition(self) -> TrialStarted | None:
        if self.spec.seeds == 1 or self._continuations or any(t.origin in SEARCHED for t in self._running):
            return None
        if any(trial.end == "paused" for trial in self.trials.values()):
            return None
        complete = [trial for trial in self.trials.values() if trial.end == "completed"]
        searched = self._ranked([trial for trial in complete if trial.origin in (*SEARCHED, "fork")])
        baselines = [trial for trial in complete if trial.origin in ("plain", "published")]
        for extra in range(1, self.spec.seeds):
            for trial in (*baselines, *searched[: self.spec.finalists]):
                seed = self.spec.seed + extra
                if seed == trial.seed:
                    # Of a forked trial: the run that chose it says nothing new a second time.
                    seed = self.spec.seed
                if not any(t.repeats == trial.number and t.seed == seed for t in self.trials.values()):
                    return self._new("finalist", dict(trial.values), seed=seed, repeats=trial.number)
        return None

    def _new(
        self, origin: TrialOrigin, values: dict[str, JsonValue], *, seed: int | None = None, repeats: int | None = None
    ) -> TrialStarted:
        return TrialStarted(
            trial=len(self.trials),
            origin=origin,
            values=values,
            seed=self.spec.seed if seed is None else seed,
            repeats=repeats,
            epochs=self._epochs(values),
        )

    def _continue(self, going_on: _GoesOn) -> TrialStarted:
        trial = self.trials[going_on.trial]
        return TrialStarted(
            trial=trial.number,
            segment=trial.started.segment + 1,
            origin=trial.origin,
            values=trial.values if going_on.values is None else going_on.values,
            seed=trial.seed,
            goes_on_from=going_on.source,
            from_epoch=going_on.from_epoch,
            epochs=trial.started.epochs,
        )

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
        self._pull()

    def _replay_start(self, started: TrialStarted) -> None:
        if started.is_resumed:
            if started.trial in self.trials:
                self._start(started)
            return
        if started.segment:
            # It was this study that let it go on; now that it has, it is not to go on again.
            self._continuations = deque(each for each in self._continuations if each.trial != started.trial)
        elif started.origin == "searcher":
            values = self._searcher.ask(started.trial)
            if values != started.values:
                # Asked by another version of the searcher: what was run is what counts.
                self._searcher.tell(started.trial, None, is_complete=False)
                self._searcher.asked(started.trial, started.values)
        elif started.origin == "user" and self._asked:
            self._asked.popleft()
        elif started.origin == "fork" and self._forked:
            self._forked.popleft()
        self._start(started)

    def _verdict(self, trial: TrialState, epoch: int, value: float | None) -> Verdict:
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
        would_be_spent = self._is_spent or (
            self._budget.epochs is not None and self.epochs_done + epoch - trial.epoch >= self._budget.epochs
        )
        return "stop" if would_be_spent or trial.number in self._to_stop else verdict

    def _note(self, reported: TrialReported) -> None:
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
            self._interrupted.append(trial.number)
        elif ended.cause != "paused" and trial.origin in SEARCHED:
            self._given_up = deque(number for number in self._given_up if number != trial.number)
            self._scheduler.ended(trial.number)
            reached = trial.objectives if ended.cause in ("completed", "stopped") else None
            known = [value for value in reached if value is not None] if reached is not None else []
            is_known = reached is not None and len(known) == len(reached)
            self._searcher.tell(trial.number, known if is_known else None, is_complete=ended.cause == "completed")
        self._pull()

    def _pull(self) -> None:
        """Ask the scheduler who goes on; at the same moments whether this happens or is read again."""
        if self._is_search_over:
            self._scheduler.close()
        going_on, given_up = self._scheduler.next()
        self._continuations.extend(self._rested(each) for each in going_on)
        self._given_up.extend(given_up)
        if self._is_spent and self._continuations:
            self._given_up.extend(each.trial for each in self._continuations)
            self._continuations.clear()

    def _rested(self, going_on: Continuation) -> _GoesOn:
        parent = self.trials[going_on.from_trial]
        source = (parent.number, parent.started.segment)
        return _GoesOn(going_on.trial, source, parent.epoch, going_on.values)

    def _take_over(self, earlier: EarlierTrial) -> None:
        values = earlier.ended.objectives
        if not self._space.contains(earlier.values) or values is None or None in values:
            return
        self._searcher.learn(earlier.values, [value for value in values if value is not None])
        if earlier.counts:
            self._forked.append(earlier)

    def fork(self) -> list[StudyEvent]:
        """The trials of the sweep that this one forks, taken in already, as events of this one."""
        taken: list[StudyEvent] = []
        while self._forked:
            earlier = self._forked.popleft()
            started = self._new("fork", dict(earlier.values), seed=earlier.seed)
            self._start(started)
            number = {"trial": started.trial, "segment": 0}
            reports = [report.model_copy(update={**number, "verdict": "continue"}) for report in earlier.reports]
            for report in reports:
                self._note(report)
            ended = earlier.ended.model_copy(update=number)
            self._finish(ended)
            taken += [started, *reports, ended]
        return taken

    def _baselines(self) -> Mapping[TrialOrigin, dict[str, JsonValue]]:
        if not self.spec.baselines or not isinstance(self.spec.base, DistillSpec):
            return {}
        values: dict[str, JsonValue] = {f"method.{name}": value for name, value in published(self.spec.base).items()}
        kept = self.spec.base.method.model_dump(mode="json")
        differing = {path: value for path, value in values.items() if kept[path.removeprefix("method.")] != value}
        return {"plain": {"method.scale": 0.0}, "published": differing}

    def _ranked(self, trials: Sequence[TrialState]) -> list[TrialState]:
        sign = 1 if self.spec.objectives[0].direction == "maximize" else -1
        found = [(trial.objectives[0], trial) for trial in trials if trial.objectives]
        known = [(value, trial) for value, trial in found if value is not None]
        return [trial for value, trial in sorted(known, key=lambda item: (-sign * item[0], item[1].number))]

    def _epochs(self, values: Mapping[str, JsonValue]) -> int:
        epochs = values.get("training.epochs", self.spec.base.training.epochs)
        assert isinstance(epochs, int)
        return epochs


def _more(limit: float | None, more: float) -> float | None:
    return limit + more if limit is not None else None
