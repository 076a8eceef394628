"""Ranks the configurations of a sweep, and compares the winner with the others."""

import math
from collections.abc import Sequence
from typing import Literal

from fgd_core.spec.study_state import Direction
from fgd_core.spec.sweep_report import Margin, Standing, TrialView
from fgd_core.statistics.welch import mean_interval
from service.compare.sweeps.configurations import BASELINES, Configuration, configurations
from service.compare.sweeps.margins import margin


def standings(trials: Sequence[TrialView], directions: Sequence[Direction], *, is_over: bool = True) -> list[Standing]:
    """Rank the configurations that have a value, best first.

    The best of many single runs was lucky as well as good. So if searched configurations were repeated, a single run
    never ranks above a repeated one, whatever it reached.

    Args:
        is_over: whether the sweep is over. While it runs, configurations are compared at equal epochs.
    """
    found = configurations(trials, directions[0], is_over=is_over)
    sign = 1 if directions[0] == "maximize" else -1
    ceiling = min((sign * each.mean for each in found if each.is_repeated), default=math.inf)

    def place(each: Configuration) -> tuple[bool, float, bool, int]:
        is_single = len(each.trials) < 2
        value = min(sign * each.mean, ceiling if is_single else math.inf)
        return (not each.is_comparable, -value, is_single, each.first.trial)

    ranked = sorted(found, key=place)
    objectives = [each.means() for each in ranked]
    front = pareto_front(objectives, directions) if len(directions) > 1 else None
    return [
        Standing(
            rank=rank,
            trial=each.first.trial,
            origin=each.first.origin,
            values=each.first.values,
            trials=[trial.trial for trial in each.trials],
            seed_values=each.values,
            chosen_at=each.chosen_at,
            at_epoch=each.at_epoch,
            is_comparable=each.is_comparable,
            objectives=objectives[rank - 1],
            interval=mean_interval(each.values),
            is_finished=each.trials[0].state in ("completed", "stopped"),
            is_on_front=rank - 1 in front if front is not None else None,
        )
        for rank, each in enumerate(ranked, start=1)
    ]


def runner_up(ranked: Sequence[Standing], direction: Direction, *, is_over: bool = True) -> Margin | None:
    """Compare the winner with the second; None if no second can be compared, or the constraint excludes it."""
    if len(ranked) < 2 or not ranked[1].is_comparable or ranked[1].is_passed_over:
        return None
    return margin(ranked[0], ranked[1], ranked, direction, is_over=is_over)


def gains(
    ranked: Sequence[Standing], direction: Direction, *, is_over: bool = True
) -> dict[Literal["plain", "published"], Margin]:
    """Compare the winner with each baseline that has a value, can be compared and is not the winner itself."""
    found: dict[Literal["plain", "published"], Margin] = {}
    for name in BASELINES:
        other = next((each for each in ranked if each.origin == name), None)
        if other is not None and other is not ranked[0] and other.is_comparable:
            found[name] = margin(ranked[0], other, ranked, direction, is_over=is_over)
    return found


def pareto_front(points: Sequence[Sequence[float | None]], directions: Sequence[Direction]) -> set[int]:
    """Indices of the points on the Pareto front: no other point is at least as good in all objectives and not equal.

    A point that lacks an objective is not on the front, and dominates no other.
    """
    signs = [1 if direction == "maximize" else -1 for direction in directions]
    whole = {
        index: [sign * value for sign, value in zip(signs, point, strict=True) if value is not None]
        for index, point in enumerate(points)
        if None not in point
    }
    front: list[int] = []
    # In this order only an earlier point can dominate a later one, and if any does, one on the front does.
    for index in sorted(whole, key=lambda index: whole[index], reverse=True):
        if not any(_dominates(whole[other], whole[index]) for other in front):
            front.append(index)
    return set(front)


def _dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    return one != other and all(a >= b for a, b in zip(one, other, strict=True))
