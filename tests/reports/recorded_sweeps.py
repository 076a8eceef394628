"""Sweeps as they are stored: studies told event by event."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from fgd_core.spec.events import StoredEvent
from fgd_core.spec.results import Scores
from fgd_core.spec.trials import StudyEvent, TrialEnded, TrialReported, TrialStarted
from tests.reports.recorded_jobs import BEGIN, scores

EPOCHS = 9
STEP_S = 10.0
"""Between two events."""


class Study:
    """Collects what a driver tells, each event ten seconds after the one before."""

    def __init__(self, *, epochs: int = EPOCHS) -> None:
        self.epochs = epochs
        self.told: list[StudyEvent] = []

    def start(self, trial: int, values: Mapping[str, Any] | None = None, **changes: Any) -> None:
        fields = {"origin": "searcher", "seed": 0, "epochs": self.epochs} | changes
        self.told.append(TrialStarted(trial=trial, values=dict(values or {}), **fields))

    def report(self, trial: int, epoch: int, *objectives: float | None, **changes: Any) -> None:
        fields = {"train_s": 2.0 * epoch, "scores": _scores(objectives[0])} | changes
        self.told.append(TrialReported(trial=trial, epoch=epoch, objectives=list(objectives), **fields))

    def end(self, trial: int, cause: str, epoch: int, **changes: Any) -> None:
        self.told.append(TrialEnded(trial=trial, cause=cause, epoch=epoch, **changes))

    def run(
        self, trial: int, aps: Sequence[float | None], values: Mapping[str, Any] | None = None, **changes: Any
    ) -> None:
        """A trial from its start to its end; `stopped` where there are fewer values than epochs."""
        self.start(trial, values, **changes)
        for epoch, ap in enumerate(aps, start=1):
            self.report(trial, epoch, ap)
        self.end(trial, "completed" if len(aps) == self.epochs else "stopped", len(aps))

    def events(self, job_id: str = "s1") -> list[StoredEvent]:
        return [
            StoredEvent(
                job_id=job_id,
                sequence=sequence,
                at=BEGIN + timedelta(seconds=STEP_S * sequence),
                attempt=1,
                kind=event.kind,
                data=event.model_dump(mode="json"),
            )
            for sequence, event in enumerate(self.told, start=1)
        ]


def _scores(ap: float | None) -> Scores:
    return scores(ap if ap is not None else 0.0)
