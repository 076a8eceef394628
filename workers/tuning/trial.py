"""One trial, inside a Ray actor: an ordinary run that asks for a verdict after each evaluation."""

import json
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from fgd_core.errors import FgdError, StaleAttemptError
from fgd_core.spec.events import (
    ArtifactSaved,
    CheckpointSaved,
    EpochFinished,
    Evaluated,
    Resumed,
    RunEvent,
    RunFinished,
)
from fgd_core.spec.jobs import DistillSpec, TrainSpec
from fgd_core.spec.results import Scores
from fgd_core.spec.trials import Verdict
from fgd_core.stopping import Stopped, checking_for_stop, run_in_thread
from fgd_core.training.context import RunContext
from workers.files.home import Home
from workers.folders import CHECKPOINTS, REPORT
from workers.reporting.last_words import failed
from workers.tuning.trial_home import Node, TrialHome

Execute = Callable[[TrainSpec | DistillSpec, RunContext], RunFinished]


class Share(Protocol):
    """How the trials on a node share their teacher."""

    def __call__(self, trial: int, emit: Callable[[RunEvent], None]) -> Any:
        """A `teacher_maps.TeacherSharing` that can be closed; not named, for it brings torch along."""
        ...

    def clear(self) -> None:
        """Free this node's memory."""
        ...


_MAX_EVENTS = 500
_HAND_OVER_S = 600.0
"""How long the files of a trial that is over may take to be kept."""


@dataclass(frozen=True)
class Work:
    """A segment of a trial."""

    trial: int
    segment: int
    spec: TrainSpec | DistillSpec
    home: TrialHome


@dataclass(frozen=True)
class Report:
    epoch: int
    scores: Scores
    train_s: float
    """In this segment."""


@dataclass(frozen=True)
class Update:
    """What has happened since the last one."""

    events: list[RunEvent] = field(default_factory=list)
    report: Report | None = None
    """The trial waits for a verdict on it."""
    finished: RunFinished | None = None


class TrialContext:
    """The `RunContext` of a trial. It holds events until they are fetched, and the training until it has a verdict.

    Args:
        share: how the teacher is shared with other trials; None: not at all.
    """

    def __init__(self, work: Work, share: Share | None = None) -> None:
        self._work = work
        self._changed = threading.Condition()
        self._events: deque[RunEvent] = deque()
        self._report: Report | None = None
        self._is_report_told = False
        self._finished: RunFinished | None = None
        self._evaluated: Report | None = None
        self._train_s = 0.0
        self._is_asked_to_stop = False
        self._is_stale = False
        self._opened: Home | None = None
        self.teacher_sharing = share(work.trial, self.emit) if share is not None else None

    @property
    def job_dir(self) -> Path:
        return self._home.folder

    @property
    def may_change(self) -> frozenset[str]:
        """Population-based training goes on from another trial's place with other settings of the method."""
        return frozenset({"method"}) if self._work.segment else frozenset()

    def open(self, node: Node) -> bool:
        """Have at hand what this segment goes on from; whether it is, or the trial was asked to stop first.

        Args:
            node: what the trials of this process have in common.
        Raises:
            FgdError: it cannot be done.
        """
        self._opened = self._work.home.open(node, tell=self._tell, on_stale=self._end_as_stale)
        with checking_for_stop(self.should_stop):
            try:
                # A control plane that hangs in the midst of a file lets nothing in there ask.
                return run_in_thread(lambda: self._home.bring(self.should_stop))
            except Stopped:
                return False

    @property
    def _home(self) -> Home:
        assert self._opened is not None, "a trial begins when its folder is there"
        return self._opened

    def emit(self, event: RunEvent) -> None:
        match event:
            case EpochFinished() if event.images_per_s > 0:
                images = event.steps / event.epochs * self._work.spec.training.batch_size
                self._train_s += images / event.images_per_s
            case Evaluated(epoch=int(epoch)):
                self._evaluated = Report(epoch, event.scores, self._train_s)
                self._note(self._evaluated)
            case RunFinished():
                self._end(event)
                return
        if isinstance(event, CheckpointSaved | ArtifactSaved):
            self._home.keep(event, self._tell)
        else:
            self._tell(event)
        match event:
            case CheckpointSaved(name="last"):
                # Only now, for whoever is told to rest or stop here has its place saved, also when this node dies.
                if self._evaluated is not None:
                    self._home.settle(self._is_over)
                self._ask_for_verdict()
            # Else it is evaluated again, and says so itself.
            case Resumed() if not event.awaits_evaluation:
                # What it had reached may not have been heard: whoever asked may have died.
                self._evaluated = self._noted(event.epoch)
                self._ask_for_verdict()

    def should_stop(self) -> bool:
        """
        Raises:
            StaleAttemptError: the sweep's attempt is over for the control plane.
        """
        if self._is_stale:
            raise StaleAttemptError("another attempt at the sweep has taken over, or it is over; this trial ends")
        return self._is_asked_to_stop

    def resolve_checkpoint(self, source: str) -> Path:
        return self._home.checkpoint(source)

    def close(self) -> None:
        if self.teacher_sharing is not None:
            self.teacher_sharing.close()
        if self._opened is not None:
            self._opened.close()

    def stop(self) -> None:
        """Have the run save its place and end."""
        with self._changed:
            self._is_asked_to_stop = True
            self._report = None
            self._changed.notify_all()

    def answer(self, verdict: Verdict) -> None:
        with self._changed:
            self._is_asked_to_stop = self._is_asked_to_stop or verdict != "continue"
            self._report = None
            self._changed.notify_all()

    def update(self, timeout_s: float) -> Update:
        """Wait for news."""
        with self._changed:
            self._changed.wait_for(self._has_news, timeout_s)
            events = [self._events.popleft() for _ in range(min(len(self._events), _MAX_EVENTS))]
            if self._events:
                return Update(events)
            report = None if self._is_report_told else self._report
            self._is_report_told = self._is_report_told or report is not None
            return Update(events, report, self._finished)

    def _tell(self, event: RunEvent) -> None:
        with self._changed:
            self._events.append(event)
            self._changed.notify_all()

    def _end(self, event: RunFinished) -> None:
        if self._finished is not None:
            return
        if self._opened is not None:
            event = self._opened.finish(event, timeout_s=_HAND_OVER_S, is_cut_short=lambda: False)
        with self._changed:
            self._finished = event
            self._changed.notify_all()

    def _is_over(self) -> bool:
        return self._is_asked_to_stop or self._is_stale

    def _end_as_stale(self) -> None:
        self._is_stale = True
        self.stop()

    def _has_news(self) -> bool:
        has_report = self._report is not None and not self._is_report_told
        return bool(self._events) or has_report or self._finished is not None

    def _ask_for_verdict(self) -> None:
        report, self._evaluated = self._evaluated, None
        if report is None or self._is_asked_to_stop:
            return
        with self._changed:
            self._report, self._is_report_told = report, False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._report is None)

    def _note(self, report: Report) -> None:
        path = self.job_dir / CHECKPOINTS / REPORT
        path.parent.mkdir(parents=True, exist_ok=True)
        incoming = path.with_suffix(".incoming")
        incoming.write_text(json.dumps({"epoch": report.epoch, "scores": report.scores.model_dump(mode="json")}))
        incoming.replace(path)
        self._home.keep_file(path)

    def _noted(self, epoch: int) -> Report | None:
        """What was noted at this epoch, by this trial's process or the one before it."""
        try:
            noted = json.loads((self.job_dir / CHECKPOINTS / REPORT).read_text())
        except (OSError, ValueError):
            return None
        return Report(epoch, Scores.model_validate(noted["scores"]), 0.0) if noted["epoch"] == epoch else None


class TrialWorker:
    """Runs one trial after the other in a process of its own, so that libraries are loaded once.

    `run` lasts as long as its trial; the other methods are called meanwhile, from other threads, with its ticket.
    """

    def __init__(self, execute: Execute, share: Share | None = None) -> None:
        self._execute, self._share = execute, share
        self._node = Node()
        self._changed = threading.Condition()
        self._contexts: dict[int, TrialContext] = {}

    def ready(self) -> bool:
        return True

    def run(self, ticket: int, work: Work) -> None:
        context = TrialContext(work, self._share)
        with self._changed:
            self._contexts[ticket] = context
            self._changed.notify_all()
        try:
            context.emit(self._finished(work, context))
        finally:
            context.close()

    def update(self, ticket: int, timeout_s: float) -> Update:
        update = self._of(ticket).update(timeout_s)
        if update.finished is not None:
            del self._contexts[ticket]
        return update

    def answer(self, ticket: int, verdict: Verdict) -> None:
        self._of(ticket).answer(verdict)

    def stop(self, ticket: int) -> None:
        self._of(ticket).stop()

    def close(self) -> None:
        """The sweep is over."""
        if self._share is not None:
            self._share.clear()
        self._node.close()

    def _finished(self, work: Work, context: TrialContext) -> RunFinished:
        try:
            if not context.open(self._node):
                return RunFinished(outcome="stopped")
        except FgdError as error:
            return failed(error)
        return self._execute(work.spec, context)

    def _of(self, ticket: int) -> TrialContext:
        # Calls may overtake each other on their way here.
        with self._changed:
            self._changed.wait_for(lambda: ticket in self._contexts)
            return self._contexts[ticket]
