"""Whether the order of trials at an early epoch, by which a scheduler judges, is their final order."""

from collections.abc import Sequence

from fgd_core.spec.search import third_of
from fgd_core.spec.study_state import Direction
from fgd_core.spec.sweep_report import EarlyOrder, TrialView
from fgd_core.statistics.kendall import interval, kendall
from service.jobs.trial_values import best_until


def early_orders(trials: Sequence[TrialView], direction: Direction) -> list[EarlyOrder]:
    """Compare orders at each rung of the scheduler; without rungs, at the first evaluation after a third of the epochs.

    Only trials that trained to the end count, because others have no final value. Baselines, which are never stopped,
    count as well; repeats do not, because their values are those of other trials.
    """
    complete = [trial for trial in trials if trial.state == "completed" and trial.repeats is None]
    epochs = max((trial.epochs for trial in complete), default=0)
    at = {point.epoch for trial in trials for point in trial.reports if point.rung is not None and point.epoch < epochs}
    evaluated = {point.epoch for trial in complete for point in trial.reports}
    first = min((epoch for epoch in evaluated if epoch >= third_of(epochs)), default=epochs)
    return [_order(complete, epoch, direction) for epoch in sorted(at or {first}) if epoch < epochs]


def _order(complete: Sequence[TrialView], epoch: int, direction: Direction) -> EarlyOrder:
    values = [(best_until(trial, epoch, direction), trial.objectives[0]) for trial in complete if trial.epochs > epoch]
    pairs = [(early, final) for early, final in values if early is not None and final is not None]
    tau = kendall(pairs)
    low, high = interval(tau, len(pairs)) or (None, None)
    return EarlyOrder(epoch=epoch, tau=tau, low=low, high=high, num_trials=len(pairs))
