"""Which configuration is best, and how sure that is."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from fgd_core.spec.sweep_report import Margin, Standing, TrialView
from service.jobs.findings.noise import mean_interval, welch
from service.jobs.study import Direction, better

SIGNIFICANT = 0.05
BASELINES: tuple[Literal["plain", "published"], ...] = ("plain", "published")


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """A trial and its repetitions with other seeds."""

    first: TrialView
    counted: list[TrialView]
    """Those whose values are compared, the first one ahead: the completed; or a single one that is not, or not yet."""

    @property
    def values(self) -> list[float]:
        """Of the first objective, by trial."""
        return [value for trial in self.counted if (value := trial.objectives[0]) is not None]

    @property
    def mean(self) -> float:
        return fmean(self.values)


def standings(trials: Sequence[TrialView], directions: Sequence[Direction]) -> list[Standing]:
    """Configurations that have a value, best first.

    The best of many single runs was lucky as well as good. So where searched configurations were repeated, a single run
    never stands before one of those, whatever it reached.
    """
    found = configurations(trials)
    sign = 1 if directions[0] == "maximize" else -1
    repeated = [sign * each.mean for each in found if len(each.values) > 1 and each.first.origin not in BASELINES]
    ceiling = min(repeated, default=math.inf)

    def place(each: Configuration) -> tuple[float, bool, int]:
        is_single = len(each.values) < 2
        return (-min(sign * each.mean, ceiling if is_single else math.inf), is_single, each.first.trial)

    ranked = sorted(found, key=place)
    objectives = [_means(each, len(directions)) for each in ranked]
    front = pareto_front(objectives, directions) if len(directions) > 1 else None
    return [
        Standing(
            rank=rank,
            trial=each.first.trial,
            origin=each.first.origin,
            values=each.first.values,
            trials=[trial.trial for trial in each.counted],
            seed_values=each.values,
            objectives=objectives[rank - 1],
            interval=mean_interval(each.values),
            is_finished=each.counted[0].state in ("completed", "stopped"),
            is_on_front=rank - 1 in front if front is not None else None,
        )
        for rank, each in enumerate(ranked, start=1)
    ]


def configurations(trials: Sequence[TrialView]) -> list[Configuration]:
    """Those that have a value. A trial that failed or was lost can be beaten by nobody, and cannot win."""
    by_number = {trial.trial: trial for trial in trials}
    groups: dict[int, list[TrialView]] = {}
    for trial in trials:
        groups.setdefault(_root(trial, by_number), []).append(trial)
    found = []
    for root in sorted(groups):
        usable = [
            trial for trial in groups[root] if trial.state not in ("failed", "lost") and trial.objectives[0] is not None
        ]
        # A repetition that still runs would pull the mean to where its training has come so far.
        counted = [trial for trial in usable if trial.state == "completed"] or usable[:1]
        if counted:
            found.append(Configuration(first=by_number.get(root, counted[0]), counted=counted))
    return found


def runner_up(ranked: Sequence[Standing], direction: Direction) -> Margin | None:
    """The winner against the second; None where there is none."""
    return margin(ranked[0], ranked[1], direction) if len(ranked) > 1 else None


def gains(ranked: Sequence[Standing], direction: Direction) -> dict[Literal["plain", "published"], Margin]:
    """What the winner brings over each baseline that has a value and is not the winner itself."""
    found: dict[Literal["plain", "published"], Margin] = {}
    for name in BASELINES:
        other = next((each for each in ranked if each.origin == name), None)
        if other is not None and other is not ranked[0]:
            found[name] = margin(ranked[0], other, direction)
    return found


def margin(winner: Standing, other: Standing, direction: Direction) -> Margin:
    by = fmean(winner.seed_values) - fmean(other.seed_values)
    test = welch(winner.seed_values, other.seed_values)
    is_clear = test is not None and test.p_value < SIGNIFICANT
    return Margin(
        trial=other.trial,
        difference=by,
        interval=test.interval if test is not None else None,
        p_value=test.p_value if test is not None else None,
        is_better=better(by, 0.0, direction),
        verdict="unknown" if test is None else "clear" if is_clear else "inside_noise",
    )


def pareto_front(points: Sequence[Sequence[float | None]], directions: Sequence[Direction]) -> set[int]:
    """Indices of the points that no other one beats in some objective without losing in another.

    A point that lacks an objective is not on the front, and beats nobody.
    """
    signs = [1 if direction == "maximize" else -1 for direction in directions]
    whole: Mapping[int, list[float]] = {
        index: [sign * value for sign, value in zip(signs, point, strict=True) if value is not None]
        for index, point in enumerate(points)
        if None not in point
    }
    return {
        index
        for index, point in whole.items()
        if not any(
            all(theirs >= ours for theirs, ours in zip(other, point, strict=True)) and other != point
            for other in whole.values()
        )
    }


def _root(trial: TrialView, by_number: Mapping[int, TrialView]) -> int:
    """The trial whose values it has, through repetitions of repetitions."""
    seen = {trial.trial}
    while trial.repeats is not None and trial.repeats in by_number and trial.repeats not in seen:
        seen.add(trial.repeats)
        trial = by_number[trial.repeats]
    return trial.trial


def _means(configuration: Configuration, num_objectives: int) -> list[float | None]:
    columns = [
        [value for trial in configuration.counted if (value := trial.objectives[index]) is not None]
        for index in range(num_objectives)
    ]
    return [fmean(column) if column else None for column in columns]
