"""What the trials of a sweep had reached by an epoch, and which of them a rung judged."""

import math
from collections.abc import Sequence

from fgd_core.spec.study_state import Direction
from fgd_core.spec.sweep_report import Standing, TrialView

MIN_COMPARED = 4
"""Fewer trials say nothing about what matters."""


def is_judged(trial: TrialView) -> bool:
    """Whether the scheduler judges the trial: baselines and repeats always run to their end."""
    return trial.origin not in ("plain", "published") and trial.repeats is None


def reached_the_end(of: Standing, trials: Sequence[TrialView]) -> bool:
    """Whether a run of the configuration trained to its end."""
    return any(trial.trial in of.trials and trial.state == "completed" for trial in trials)


def best_until(trial: TrialView, epoch: int, direction: Direction) -> float | None:
    """The best first objective up to an epoch, which schedulers decide on; None if the trial did not get there."""
    if not any(point.epoch >= epoch for point in trial.reports):
        return None
    values = [point.objectives[0] for point in trial.reports if point.epoch <= epoch]
    known = [value for value in values if value is not None]
    return (max(known) if direction == "maximize" else min(known)) if known else None


def objectives_until(trial: TrialView, epoch: int, direction: Direction) -> list[float | None]:
    """All objectives of the best evaluation up to an epoch; None for each if there is no evaluation so early."""
    points = [(point.objectives[0], point) for point in trial.reports if point.epoch <= epoch]
    known = [(value, point) for value, point in points if value is not None]
    if not known:
        return [None] * len(trial.objectives)
    sign = 1 if direction == "maximize" else -1
    return max(known, key=lambda at: sign * at[0])[1].objectives


def judged_at(
    trials: Sequence[TrialView], rung: int, epoch: int, direction: Direction
) -> list[tuple[TrialView, float]]:
    """The trials that the scheduler judged at a rung, each with the value that it judged."""
    return [
        (trial, value)
        for trial in trials
        if is_judged(trial) and any(point.rung == rung and point.epoch == epoch for point in trial.reports)
        if (value := best_until(trial, epoch, direction)) is not None
    ]


def continued_after(trial: TrialView, epoch: int) -> bool:
    """Whether a trial that reached this epoch trained further, will train further, or was complete there."""
    if trial.epoch > epoch or trial.state == "completed":
        return True
    return trial.state == "running" and any(
        point.epoch == epoch and point.verdict == "continue" for point in trial.reports
    )


def common_epoch(trials: Sequence[TrialView]) -> int:
    """The latest epoch that half of the trials, and at least `MIN_COMPARED`, have reached; 0 if there is none."""
    enough = max(MIN_COMPARED, math.ceil(len(trials) / 2))
    reached = sorted((trial.reports[-1].epoch for trial in trials if trial.reports), reverse=True)
    if len(reached) < enough:
        # Half of the trials may have failed, or not have started.
        enough = MIN_COMPARED
    return reached[enough - 1] if len(reached) >= enough else 0
