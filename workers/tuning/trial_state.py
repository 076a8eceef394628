"""The state of a trial in a study."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from pydantic import JsonValue

from fgd_core.spec.results import RunResult
from fgd_core.spec.search import Objective
from fgd_core.spec.trials import TrialEnd, TrialOrigin, TrialReported, TrialStarted, Verdict

SEARCHED: frozenset[TrialOrigin] = frozenset({"searcher", "user"})
"""Trials that the scheduler judges and the budget counts; baselines and repeats are trained to their end."""


@dataclass
class TrialState:
    """Holds what is known of a trial."""

    number: int
    origin: TrialOrigin
    values: dict[str, JsonValue]
    seed: int
    repeats: int | None
    started: TrialStarted
    """The start of its newest segment."""
    is_running: bool = True
    end: TrialEnd | None = None
    """How its newest segment ended; None while it runs."""
    epoch: int = 0
    train_s: float = 0.0
    machine: str = ""
    """The GPU, or the processor, of its newest segment; empty until it is known."""
    losses: int = 0
    """Workers that died while they ran it."""
    verdict: Verdict = "continue"
    """The verdict on its newest report."""
    reports: list[TrialReported] = field(default_factory=list)
    objectives: list[float | None] | None = None
    """At its best epoch; None before the first report."""
    result: RunResult | None = None
    checkpoint: str | None = None

    @property
    def is_over(self) -> bool:
        return self.end not in (None, "paused", "lost")


def ranked(trials: Sequence[TrialState], objective: Objective) -> list[TrialState]:
    """Sort trials by their first objective, the best first; leaves out trials without a value."""
    sign = 1 if objective.direction == "maximize" else -1
    found = [(trial.objectives[0], trial) for trial in trials if trial.objectives]
    known = [(value, trial) for value, trial in found if value is not None]
    return [trial for value, trial in sorted(known, key=lambda item: (-sign * item[0], item[1].number))]
