"""What the scheduler stopped, what that saved, and whether it was wise."""

from collections.abc import Sequence

from fgd_core.spec.study_state import Direction, better
from fgd_core.spec.sweep_report import DoubtfulStop, Rung, Stopping, TrialView
from service.jobs.findings.noise import kendall


def stopping(trials: Sequence[TrialView], direction: Direction, *, winner: int | None) -> Stopping:
    """
    Args:
        trials: of the sweep, baselines and repetitions among them: the scheduler has no say in those.
        winner: the trial that won; a stop is held against what that one had reached at the same epoch.
    """
    searched = [trial for trial in trials if is_judged(trial)]
    stopped = [trial for trial in searched if trial.state == "stopped" and not trial.by_user]
    best = next((trial for trial in trials if trial.trial == winner), None)
    return Stopping(
        num_stopped=len(stopped),
        epochs_saved=sum(trial.epochs - trial.epoch for trial in stopped),
        epochs_full=sum(trial.epochs for trial in searched),
        rungs=_rungs(searched, direction),
        doubtful=_doubtful(stopped, best, direction) if best is not None else [],
    )


def is_judged(trial: TrialView) -> bool:
    """By the scheduler: baselines and repetitions run to their end."""
    return trial.origin not in ("plain", "published") and trial.repeats is None


def best_until(trial: TrialView, epoch: int, direction: Direction) -> float | None:
    """The trial's best first objective until an epoch: what a scheduler decides on. None where it came not so far."""
    if not any(point.epoch >= epoch for point in trial.reports):
        return None
    values = [point.objectives[0] for point in trial.reports if point.epoch <= epoch]
    known = [value for value in values if value is not None]
    return (max(known) if direction == "maximize" else min(known)) if known else None


def objectives_until(trial: TrialView, epoch: int, direction: Direction) -> list[float | None]:
    """All objectives where the first one was best until an epoch; None where the trial has none so early."""
    points = [(point.objectives[0], point) for point in trial.reports if point.epoch <= epoch]
    known = [(value, point) for value, point in points if value is not None]
    if not known:
        return [None] * len(trial.objectives)
    sign = 1 if direction == "maximize" else -1
    return max(known, key=lambda at: sign * at[0])[1].objectives


def came_to(trials: Sequence[TrialView], rung: int, epoch: int, direction: Direction) -> list[tuple[TrialView, float]]:
    """Trials that the scheduler judged at a rung, with the value that it saw."""
    return [
        (trial, value)
        for trial in trials
        if is_judged(trial) and any(point.rung == rung and point.epoch == epoch for point in trial.reports)
        if (value := best_until(trial, epoch, direction)) is not None
    ]


def went_on(trial: TrialView, epoch: int) -> bool:
    """Whether a trial that came to this epoch was trained further, will be, or was done there."""
    if trial.epoch > epoch or trial.state == "completed":
        return True
    return trial.state == "running" and any(
        point.epoch == epoch and point.verdict == "continue" for point in trial.reports
    )


def _rungs(trials: Sequence[TrialView], direction: Direction) -> list[Rung]:
    at = {(point.rung, point.epoch) for trial in trials for point in trial.reports if point.rung is not None}
    return [_rung(trials, rung, epoch, direction) for rung, epoch in sorted(at)]


def _rung(trials: Sequence[TrialView], rung: int, epoch: int, direction: Direction) -> Rung:
    came = came_to(trials, rung, epoch, direction)
    on = [(trial, value) for trial, value in came if went_on(trial, epoch)]
    off = [value for trial, value in came if trial.state == "stopped" and trial.epoch == epoch]
    # At the last epoch of a training the value is the end, and would agree with itself.
    judged = [(value, trial.objectives[0]) for trial, value in on if epoch < trial.epochs]
    ends = [(value, end) for value, end in judged if end is not None]
    worst, best = (min, max) if direction == "maximize" else (max, min)
    return Rung(
        rung=rung,
        epoch=epoch,
        reached=len(came),
        went_on=len(on),
        cutoff=worst((value for _, value in on), default=None),
        best_stopped=best(off, default=None),
        correlation=kendall([value for value, _ in ends], [end for _, end in ends]),
    )


def _doubtful(stopped: Sequence[TrialView], winner: TrialView, direction: Direction) -> list[DoubtfulStop]:
    found = []
    for trial in stopped:
        value = best_until(trial, trial.epoch, direction)
        winners = best_until(winner, trial.epoch, direction)
        if trial is not winner and value is not None and winners is not None and better(value, winners, direction):
            found.append(DoubtfulStop(trial=trial.trial, epoch=trial.epoch, value=value, winner_value=winners))
    return found
