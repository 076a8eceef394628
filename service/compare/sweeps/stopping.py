"""What the scheduler stopped, what that saved, and which stops are doubtful."""

from collections.abc import Sequence

from fgd_core.spec.study_state import Direction, better
from fgd_core.spec.sweep_report import DoubtfulStop, Rung, Stopping, TrialView
from service.jobs.trial_values import best_until, continued_after, is_judged, judged_at


def stopping(trials: Sequence[TrialView], direction: Direction, *, winner: int | None) -> Stopping:
    """Count what the scheduler stopped and saved, rung by rung.

    Args:
        trials: all trials of the sweep; baselines and repeats, which the scheduler does not judge, are ignored.
        winner: the trial that won. A stopped trial that was ahead of it at the same epoch is doubtful.
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


def _rungs(trials: Sequence[TrialView], direction: Direction) -> list[Rung]:
    at = {(point.rung, point.epoch) for trial in trials for point in trial.reports if point.rung is not None}
    return [_rung(trials, rung, epoch, direction) for rung, epoch in sorted(at)]


def _rung(trials: Sequence[TrialView], rung: int, epoch: int, direction: Direction) -> Rung:
    came = judged_at(trials, rung, epoch, direction)
    on = [(trial, value) for trial, value in came if continued_after(trial, epoch)]
    off = [value for trial, value in came if trial.state == "stopped" and trial.epoch == epoch]
    worst, best = (min, max) if direction == "maximize" else (max, min)
    return Rung(
        rung=rung,
        epoch=epoch,
        reached=len(came),
        went_on=len(on),
        cutoff=worst((value for _, value in on), default=None),
        best_stopped=best(off, default=None),
    )


def _doubtful(stopped: Sequence[TrialView], winner: TrialView, direction: Direction) -> list[DoubtfulStop]:
    found = []
    for trial in stopped:
        value = best_until(trial, trial.epoch, direction)
        winners = best_until(winner, trial.epoch, direction)
        if trial is not winner and value is not None and winners is not None and better(value, winners, direction):
            found.append(DoubtfulStop(trial=trial.trial, epoch=trial.epoch, value=value, winner_value=winners))
    return found
