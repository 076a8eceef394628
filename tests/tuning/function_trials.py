"""Sweeps over a known function: the real driver and study, with trials that compute a value instead of training."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fgd_core.spec.events import RunEvent, RunFinished
from fgd_core.spec.jobs import JOB_SPEC
from fgd_core.spec.kinds.distill import DistillSpec
from fgd_core.spec.kinds.sweep import SweepSpec
from fgd_core.spec.kinds.train import TrainSpec
from fgd_core.spec.results import ErrorReport, RunResult, Scores
from fgd_core.spec.trials import STUDY_EVENT, EarlierTrial, StudyEntry, StudyLog
from workers.remote.messages import Report, Update
from workers.tuning.driver import Driver
from workers.tuning.messages import TrialMessage, TrialTask

Value = Callable[[TrainSpec | DistillSpec, int], float | dict[str, float]]
"""(spec, epoch) -> the AP of a trial after this epoch, or several scores by name."""


def sweep(space: Mapping[str, Any] | str = "fgd-scale", *, epochs: int = 9, **settings: Any) -> SweepSpec:
    base = {
        "kind": "distill",
        "student": {"type": "retinanet"},
        "teacher": {"checkpoint": "/teacher.pt", "gate": "keys"},
        "method": {"type": "fgd"},
        "data": {"type": "shapes", "num_train": 40, "num_val": 10},
        "training": {"epochs": epochs, "batch_size": 8},
    }
    spec = {"kind": "sweep", "name": "a sweep", "space": space, "base": base, **settings}
    found = JOB_SPEC.validate_python(spec)
    assert isinstance(found, SweepSpec)
    return found


def scores(reached: float | dict[str, float]) -> Scores:
    known = reached if isinstance(reached, dict) else {"ap": reached}
    fields: dict[str, Any] = dict.fromkeys(Scores.model_fields) | {"per_class": {}} | known
    return Scores(**fields)


class Killed(Exception):
    """The driver is killed, as by SIGKILL: no cleanup runs."""


@dataclass
class _Running:
    task: TrialTask
    epoch: int
    from_epoch: int
    repeats_report: bool
    is_stopped: bool = False


@dataclass
class FunctionExecutor:
    """Advances trials by one epoch at a time, the lowest number first; `epochs_done` outlives the executor."""

    value: Value
    concurrent: int = 1
    kill_after: int | None = None
    """Raise `Killed` after this many epochs; epochs that were not reported before are lost with the driver."""
    fails: frozenset[int] = frozenset()
    """Trials that fail at once."""
    loses: frozenset[tuple[int, int]] = frozenset()
    """(trial, epoch) after which the trial's worker dies, once."""
    events: list[RunEvent] = field(default_factory=list)
    """What each trial emits with each of its reports."""
    epochs_done: dict[tuple[int, int], int] = field(default_factory=dict)
    """By (trial, segment)."""
    epochs_run: int = 0
    _trials: dict[int, _Running] = field(default_factory=dict)
    sources: Mapping[tuple[int, int], tuple[int, int] | None] = field(default_factory=dict)

    def run(self, driver: Driver) -> None:
        while not driver.is_over:
            driver.tick()
            while len(self._trials) < self.concurrent and (task := driver.begin()) is not None:
                self._start(task)
            for message in [self._advance(trial) for trial in sorted(self._trials)]:
                verdict = driver.handle(message)
                if message.trial in self._trials:
                    stops = verdict not in (None, "continue") or driver.should_stop(message.trial)
                    self._trials[message.trial].is_stopped = stops

    def _start(self, task: TrialTask) -> None:
        key = (task.trial, task.segment)
        source = self.sources.get(key)
        # A resumed trial repeats_report its last report, as a real trial does: the driver may not have received it.
        repeats_report = key in self.epochs_done and self.epochs_done[key] > 0
        epoch = self.epochs_done.get(key, self.epochs_done[source] if source is not None else 0)
        self.epochs_done[key] = epoch
        self._trials[task.trial] = _Running(task, epoch, from_epoch=epoch, repeats_report=repeats_report)

    def _advance(self, trial: int) -> TrialMessage:
        running = self._trials[trial]
        spec, epochs = running.task.spec, running.task.spec.training.epochs
        if (trial, running.epoch) in self.loses:
            self.loses -= {(trial, running.epoch)}
            del self._trials[trial]
            return TrialMessage(trial, None, "the worker died")
        if trial in self.fails:
            del self._trials[trial]
            error = ErrorReport(code="weights", message="no such checkpoint")
            return TrialMessage(trial, Update(finished=RunFinished(outcome="failed", error=error)))
        if running.repeats_report:
            running.repeats_report = False
            return self._report(running)
        if running.is_stopped or running.epoch == epochs:
            del self._trials[trial]
            if running.is_stopped:
                return TrialMessage(trial, Update(finished=RunFinished(outcome="stopped")))
            reached = [scores(self.value(spec, epoch)) for epoch in range(1, epochs + 1)]
            best = max(reached, key=lambda each: each.ap or 0.0)
            result = RunResult(scores=best, num_parameters=10, images_per_s=1.0, num_images=1, device="cpu")
            return TrialMessage(trial, Update(finished=RunFinished(outcome="succeeded", result=result)))
        if self.kill_after is not None and self.epochs_run == self.kill_after:
            raise Killed
        self.epochs_run += 1
        running.epoch += 1
        self.epochs_done[running.task.trial, running.task.segment] = running.epoch
        return self._report(running)

    def _report(self, running: _Running) -> TrialMessage:
        reached = scores(self.value(running.task.spec, running.epoch))
        report = Report(running.epoch, reached, train_s=float(running.epoch - running.from_epoch))
        return TrialMessage(running.task.trial, Update(events=self.events, report=report))


class Memory:
    """Plays the control plane for a driver: it stores the driver's events, and outlives the driver."""

    def __init__(self, folder: Path, earlier: Sequence[EarlierTrial] = ()) -> None:
        self.folder = folder
        self.events: list[RunEvent] = []
        self.earlier = list(earlier)
        self.attempt = 0
        self.sources: dict[tuple[int, int], tuple[int, int] | None] = {}

    @property
    def job_dir(self) -> Path:
        folder = self.folder / "attempts" / str(self.attempt)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def emit(self, event: RunEvent) -> None:
        self.events.append(event)
        if event.kind == "trial_started":
            self.sources[event.trial, event.segment] = event.goes_on_from

    def should_stop(self) -> bool:
        return False

    def resolve_checkpoint(self, source: str) -> Path:
        return Path(source)

    def study(self, after: int) -> StudyLog:
        entries = [
            StudyEntry(sequence=sequence, event=STUDY_EVENT.validate_python(event.model_dump()))
            for sequence, event in enumerate(self.events, start=1)
            if event.kind in ("trial_started", "trial_reported", "trial_ended") and sequence > after
        ]
        return StudyLog(entries=entries, earlier=self.earlier if after == 0 else [])


def run(spec: SweepSpec, value: Value, memory: Memory, **settings: Any) -> tuple[RunFinished, FunctionExecutor]:
    """Run one attempt of a sweep."""
    memory.attempt += 1
    executor = FunctionExecutor(value, sources=memory.sources, **settings)
    return Driver(spec, memory, memory.study(0)).run(executor), executor
