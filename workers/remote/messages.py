"""The messages from a run to its driver in another process."""

from dataclasses import dataclass, field

from fgd_core.spec.events import RunEvent, RunFinished
from fgd_core.spec.results import Scores


@dataclass(frozen=True)
class Report:
    """Holds the scores of an evaluation, for which a trial awaits a verdict."""

    epoch: int
    scores: Scores
    train_s: float
    """In this segment."""


@dataclass(frozen=True)
class Update:
    """Holds what happened in a run since its last update."""

    # Ray Tune formats each result for its debug log, even if that is off: a text of all events would cost more than
    # their transport.
    events: list[RunEvent] = field(default_factory=list, repr=False)
    report: Report | None = field(default=None, repr=False)
    """The trial waits for a verdict on this report."""
    finished: RunFinished | None = field(default=None, repr=False)

    @property
    def is_empty(self) -> bool:
        return not self.events and self.report is None and self.finished is None
