"""Decides when a training ends before its last epoch."""

from collections.abc import Sequence
from typing import NamedTuple

from fgd_core.spec.results import EndReason
from fgd_core.spec.training import EarlyStop, TimeBudget, TrainingSpec

_HOUR_S = 3600.0


def no_gain_is_left(settings: EarlyStop, aps: Sequence[float]) -> bool:
    """Return whether the newest evaluations had no gain for as long as the settings allow.

    Args:
        aps: of all evaluations so far, in their order.
    """
    reference, since_gain = -1.0, 0
    for ap in aps:
        if ap > reference + settings.min_gain or reference < 0:
            reference, since_gain = ap, 0
        else:
            since_gain += 1
    return since_gain >= settings.patience


class Spent(NamedTuple):
    """What a training has taken so far, over all attempts."""

    wall_s: float = 0.0
    gpu_s: float = 0.0
    """Seconds times GPUs of all workers."""


def still_ended(
    ended_by: EndReason | None,
    settings: TrainingSpec,
    *,
    aps: Sequence[float],
    spent: Spent,
    next_s: float,
    gpus: int,
) -> EndReason | None:
    """Return why a training that ended early stays ended; None if it goes on, because its settings now allow more.

    Args:
        ended_by: why it ended under the former settings; None if it did not.
        aps: of all evaluations so far, in their order.
        next_s: see `exhausted`.
        gpus: of all workers together.
    """
    if ended_by is None:
        return None
    if ended_by == "early_stop":
        rule = settings.early_stop
        return ended_by if rule is not None and no_gain_is_left(rule, aps) else None
    return exhausted(settings.budget, spent, next_s=next_s, gpus=gpus) if settings.budget is not None else None


def exhausted(budget: TimeBudget, spent: Spent, *, next_s: float, gpus: int) -> EndReason | None:
    """Return the part of a budget that does not last for the next epoch and its evaluation; None if all parts do.

    Args:
        next_s: seconds that the evaluation of this epoch, the next epoch and its evaluation take.
        gpus: of all workers together.
    """
    if budget.wall_h is not None and spent.wall_s + next_s > budget.wall_h * _HOUR_S:
        return "wall_time"
    if budget.gpu_h is not None and spent.gpu_s + next_s * gpus > budget.gpu_h * _HOUR_S:
        return "gpu_time"
    return None
