"""Groups trials with the same values into configurations, and chooses the epoch at which to compare them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from fgd_core.spec.results import Scores
from fgd_core.spec.study_state import Direction
from fgd_core.spec.sweep_report import Standing, TrialView
from service.jobs.trial_values import objectives_until

BASELINES: tuple[Literal["plain", "published"], ...] = ("plain", "published")


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """A trial and its repeats with other seeds."""

    first: TrialView
    trials: list[TrialView]
    """The completed trials with a value, the first trial first; without any, the one trial that is not complete."""
    objectives: list[list[float | None]]
    """Of each of `trials`, up to the epoch of the comparison."""
    at_epoch: int | None
    is_comparable: bool

    @property
    def is_repeated(self) -> bool:
        """Whether it was searched and then repeated with fresh seeds, other than the seed that chose it."""
        return self.first.origin not in BASELINES and any(trial is not self.first for trial in self.trials)

    @property
    def values(self) -> list[float]:
        """The first objective on the seeds that count."""
        return [values[0] for values in self._counted if values[0] is not None]

    @property
    def mean(self) -> float:
        """The mean of `values`."""
        return fmean(self.values)

    @property
    def chosen_at(self) -> float | None:
        """The value for which the configuration was chosen to be repeated."""
        return self.objectives[0][0] if self.is_repeated and self.trials[0] is self.first else None

    def means(self) -> list[float | None]:
        """The mean of each objective on the seeds that count."""
        columns = [[value for value in column if value is not None] for column in zip(*self._counted, strict=True)]
        return [fmean(column) if column else None for column in columns]

    @property
    def _counted(self) -> list[list[float | None]]:
        """The run that chose a configuration was lucky as well as good, so only the repeats count."""
        runs = zip(self.trials, self.objectives, strict=True)
        return [values for trial, values in runs if trial is not self.first or not self.is_repeated]


def configurations(trials: Sequence[TrialView], direction: Direction, *, is_over: bool) -> list[Configuration]:
    """Group the trials that have a value; failed and lost trials are left out.

    A trial that trained longer had more chances. So until both the baselines and the search have a completed trial,
    all are compared at the latest epoch that both sides have reached.

    Args:
        is_over: whether the sweep is over.
    """
    by_number = {trial.trial: trial for trial in trials}
    groups: dict[int, list[TrialView]] = {}
    for trial in trials:
        if trial.state not in ("failed", "lost") and trial.objectives[0] is not None:
            groups.setdefault(_root(trial, by_number), []).append(trial)
    epoch = _common_epoch([group[0] for group in groups.values()], is_over=is_over)
    any_complete = any(trial.state == "completed" for group in groups.values() for trial in group)
    found = []
    for root, group in sorted(groups.items()):
        # A repeat that still trains would pull the mean down to its present epoch.
        usable = _with_different_seeds([trial for trial in group if trial.state == "completed"] or group[:1])
        reached = epoch is None or all(_reached(trial, epoch) for trial in usable)
        until = epoch if reached else None
        at = [trial.objectives if until is None else objectives_until(trial, until, direction) for trial in usable]
        if at[0][0] is None:
            until, reached, at = None, False, [trial.objectives for trial in usable]
        found.append(
            Configuration(
                first=by_number.get(root, usable[0]),
                trials=usable,
                objectives=at,
                at_epoch=until,
                # A part of a training does not compete with whole ones: nobody knows how it would have ended.
                is_comparable=reached
                and (epoch is not None or usable[0].state == "completed" or (is_over and not any_complete)),
            )
        )
    return found


def scores_that_count(of: Standing, trials: Sequence[TrialView]) -> list[Scores]:
    """Return the scores of the configuration's complete runs on the seeds that count."""
    counted = of.trials if of.chosen_at is None else [number for number in of.trials if number != of.trial]
    return [trial.result.scores for trial in trials if trial.trial in counted and trial.result is not None]


def _common_epoch(trials: Sequence[TrialView], *, is_over: bool) -> int | None:
    """The latest epoch that both sides have reached; None if whole trainings are compared."""
    of_baselines = [trial for trial in trials if trial.origin in BASELINES]
    of_search = [trial for trial in trials if trial.origin not in BASELINES]
    sides = [side for side in (of_baselines, of_search) if side]
    if all(any(trial.state == "completed" for trial in side) for side in sides):
        return None
    if len(sides) == 2:
        return min(max(trial.epoch for trial in side) for side in sides)
    # Only one side: the latest epoch that two trials have reached.
    return None if is_over else sorted((trial.epoch for trial in trials), reverse=True)[:2][-1]


def _reached(trial: TrialView, epoch: int) -> bool:
    """A completed training counts at any epoch: it may be shorter than others if its length is searched."""
    return trial.state == "completed" or trial.epoch >= epoch


def _with_different_seeds(trials: Sequence[TrialView]) -> list[TrialView]:
    """Keep one trial per seed, because the same run twice says nothing new."""
    first_of_seed: dict[int, TrialView] = {}
    for trial in trials:
        first_of_seed.setdefault(trial.seed, trial)
    return list(first_of_seed.values())


def _root(trial: TrialView, by_number: Mapping[int, TrialView]) -> int:
    """The trial whose values it repeats, through repeats of repeats."""
    seen = {trial.trial}
    while trial.repeats is not None and trial.repeats in by_number and trial.repeats not in seen:
        seen.add(trial.repeats)
        trial = by_number[trial.repeats]
    return trial.trial
