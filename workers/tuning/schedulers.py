"""Schedulers: they decide whether a trial continues, pauses or stops, and which paused trials continue.

They decide on results alone, so that replayed results bring back their state: Ray Tune's own classes lose theirs when
Tune restarts. ASHA and the median rule decide as Tune's classes do, which the tests show.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, repeat, takewhile
from operator import mul
from typing import Any, Protocol

import numpy as np
from pydantic import JsonValue

from fgd_core.spec.search import Asha, HyperBand, Median, PopulationBased, RunAll, SchedulerSpec
from fgd_core.spec.trials import Verdict
from workers.tuning.space import Space


@dataclass(frozen=True)
class Continuation:
    """Says that a paused trial continues."""

    trial: int
    from_trial: int
    """The trial whose checkpoint it continues from; usually the trial itself."""
    values: dict[str, JsonValue] | None = None
    """New values; None keeps its own."""


class Scheduler(Protocol):
    """Judges trials. Like a searcher, it is a function of its calls in their order. Greater values are better.

    A scheduler without a state need not override `add`, `ended` and `close`.
    """

    max_trials: int | None
    """The largest number of trials; None is unlimited."""

    def add(self, trial: int, values: Mapping[str, JsonValue]) -> None:
        """Add a trial, or the new values of a trial that continues."""
        return

    def report(self, trial: int, epoch: int, value: float) -> Verdict:
        """Judge the value that a trial has reached at an epoch."""

    def rung(self, trial: int, epoch: int) -> int | None:
        """Return the index of the rung at this epoch of a trial; None between rungs."""

    def ended(self, trial: int) -> None:
        """Remove a trial that has ended for any reason; a paused trial has not ended."""
        return

    def close(self) -> None:
        """Expect no more trials."""
        return

    def next(self) -> tuple[list[Continuation], list[int]]:
        """Return (paused trials that continue now, paused trials that stop); each trial is returned once."""


def build_scheduler(spec: SchedulerSpec, space: Space, *, epochs: int, seed: int) -> Scheduler:
    """Build the scheduler that the spec names.

    Args:
        epochs: of a complete training.
    """
    return SCHEDULERS[type(spec)](spec, space, epochs, seed)


class _RunAll(Scheduler):
    """Lets every trial run to its end."""

    max_trials: int | None = None

    def report(self, trial: int, epoch: int, value: float) -> Verdict:
        return "continue"

    def rung(self, trial: int, epoch: int) -> int | None:
        return None

    def next(self) -> tuple[list[Continuation], list[int]]:
        return [], []


class _Asha(_RunAll):
    """Stops a trial whose value at a rung is below the best fraction of those that reached the rung before it."""

    def __init__(self, spec: Asha, space: Space, epochs: int, seed: int) -> None:
        self._reduction, self._epochs = spec.reduction, epochs
        self._rungs = rungs(min(spec.first_rung(epochs), epochs), spec.reduction, epochs)
        self._values: list[dict[int, float]] = [{} for _ in self._rungs]
        """By rung, the value of each trial that has reached it."""

    def report(self, trial: int, epoch: int, value: float) -> Verdict:
        if epoch >= self._epochs:
            return "continue"
        # Not every epoch is evaluated: a trial reaches a rung with its first value at or after the rung's epoch.
        reached = [
            values
            for first, values in zip(self._rungs, self._values, strict=True)
            if epoch >= first and trial not in values
        ]
        if not reached:
            return "continue"
        others = list(reached[-1].values())
        reached[-1][trial] = value
        is_below = bool(others) and value < np.nanpercentile(others, (1 - 1 / self._reduction) * 100)
        return "stop" if is_below else "continue"

    def rung(self, trial: int, epoch: int) -> int | None:
        return self._rungs.index(epoch) if epoch in self._rungs else None


class _Median(_RunAll):
    """Stops a trial whose best value is below the median of the others' means up to the same epoch."""

    def __init__(self, spec: Median, space: Space, epochs: int, seed: int) -> None:
        self._spec, self._epochs, self._grace_epochs = spec, epochs, spec.first_rung(epochs)
        self._values: dict[int, dict[int, float]] = {}
        """By trial, the value at each epoch."""

    def report(self, trial: int, epoch: int, value: float) -> Verdict:
        own = self._values.setdefault(trial, {})
        own[epoch] = value
        if epoch < self._grace_epochs:
            return "continue"
        others = [values for number, values in self._values.items() if number != trial and max(values) >= epoch]
        means = [mean for values in others if math.isfinite(mean := self._mean(values, epoch))]
        is_below = len(means) >= self._spec.min_trials and max(own.values()) < np.median(means)
        return "stop" if is_below and epoch < self._epochs else "continue"

    def _mean(self, values: Mapping[int, float], epoch: int) -> float:
        """Return the mean from the end of the grace period to an epoch; NaN if there is no value."""
        found = [value for at, value in values.items() if self._grace_epochs <= at <= epoch]
        return float(np.mean(found)) if found else math.nan


def rungs(grace_epochs: int, reduction: int, epochs: int) -> list[int]:
    """Return the epochs at which successive halving decides, without the last epoch of the training."""
    epochs_at = accumulate(repeat(reduction), mul, initial=grace_epochs)
    return list(takewhile(lambda epoch: epoch < epochs, epochs_at))


@dataclass
class _Bracket:
    size: int
    rungs: list[int]
    """Epochs; the last one is the end of the training."""
    members: list[int] = field(default_factory=list)
    at: dict[int, dict[int, float]] = field(default_factory=dict)
    """By rung, the value of each trial that has reached it."""
    decided: int = 0
    """The number of rungs with a decision."""
    alive: set[int] = field(default_factory=set)


class _HyperBand:
    """Fills one bracket after the other, beginning with the one whose rungs are earliest; then it starts over."""

    max_trials: int | None = None

    def __init__(self, spec: HyperBand, epochs: int) -> None:
        self._spec, self._epochs = spec, epochs
        self._brackets: list[_Bracket] = []
        self._of: dict[int, _Bracket] = {}
        self._is_closed = False

    def add(self, trial: int, values: Mapping[str, JsonValue]) -> None:
        if trial in self._of:
            return
        if not self._brackets or len(self._brackets[-1].members) == self._brackets[-1].size:
            self._brackets.append(self._new_bracket())
        bracket = self._of[trial] = self._brackets[-1]
        bracket.members.append(trial)
        bracket.alive.add(trial)

    def report(self, trial: int, epoch: int, value: float) -> Verdict:
        bracket = self._of[trial]
        index = self.rung(trial, epoch)
        if index is None or index < bracket.decided:
            return "continue"
        bracket.at.setdefault(index, {})[trial] = value
        return "pause"

    def rung(self, trial: int, epoch: int) -> int | None:
        rungs_ = self._of[trial].rungs if trial in self._of else []
        return rungs_.index(epoch) if epoch in rungs_ and epoch < self._epochs else None

    def ended(self, trial: int) -> None:
        if trial in self._of:
            self._of[trial].alive.discard(trial)

    def close(self) -> None:
        self._is_closed = True

    def next(self) -> tuple[list[Continuation], list[int]]:
        continuing: list[Continuation] = []
        stopped: list[int] = []
        for bracket in self._brackets:
            is_full = self._is_closed or len(bracket.members) == bracket.size
            arrived = bracket.at.get(bracket.decided, {})
            waiting = bracket.alive & set(arrived)
            if not is_full or not waiting or waiting != bracket.alive:
                continue
            num_kept = max(1, len(waiting) // self._spec.reduction)
            order = sorted(waiting, key=lambda trial: (-arrived[trial], trial))
            continuing += [Continuation(trial, trial) for trial in order[:num_kept]]
            stopped += order[num_kept:]
            bracket.alive = set(order[:num_kept])
            bracket.decided += 1
        return continuing, stopped

    def _new_bracket(self) -> _Bracket:
        # Li et al. 2018: at most R epochs, the first rung at R reduction^-s, for s from the largest down to 0.
        reduction = self._spec.reduction
        largest = int(math.log(max(self._epochs / self._spec.first_rung(self._epochs), 1), reduction) + 1e-9)
        halvings = largest - len(self._brackets) % (largest + 1)
        size = math.ceil((largest + 1) / (halvings + 1) * reduction**halvings)
        first = max(1, round(self._epochs / reduction**halvings))
        return _Bracket(size=size, rungs=rungs(first, reduction, self._epochs))


class _PopulationBased:
    """Pauses all trials at the end of a generation; the worst then continue from the best ones' checkpoints.

    The new values depend only on the seed, the generation and the trial.
    """

    def __init__(self, spec: PopulationBased, space: Space, epochs: int, seed: int) -> None:
        self._spec, self._space, self._epochs, self._seed = spec, space, epochs, seed
        self.max_trials: int | None = spec.population
        self._values: dict[int, dict[str, JsonValue]] = {}
        self._alive: set[int] = set()
        self._arrived: dict[int, float] = {}
        self._generation = 0
        self._is_closed = False

    def add(self, trial: int, values: Mapping[str, JsonValue]) -> None:
        if trial not in self._values:
            self._alive.add(trial)
        self._values[trial] = dict(values)

    def report(self, trial: int, epoch: int, value: float) -> Verdict:
        if epoch >= self._epochs or epoch < (self._generation + 1) * self._spec.every_epochs:
            return "continue"
        self._arrived[trial] = value
        return "pause"

    def rung(self, trial: int, epoch: int) -> int | None:
        if epoch % self._spec.every_epochs or epoch >= self._epochs:
            return None
        return epoch // self._spec.every_epochs - 1

    def ended(self, trial: int) -> None:
        self._alive.discard(trial)
        self._arrived.pop(trial, None)

    def close(self) -> None:
        self._is_closed = True

    def next(self) -> tuple[list[Continuation], list[int]]:
        is_full = self._is_closed or len(self._values) >= self._spec.population
        if not is_full or not self._alive or set(self._arrived) != self._alive:
            return [], []
        order = sorted(self._alive, key=lambda trial: (-self._arrived[trial], trial))
        num_replaced = min(max(1, int(len(order) * self._spec.quantile)), len(order) // 2)
        best, worst = order[:num_replaced], set(order[len(order) - num_replaced :])
        continuing = [self._continuation(trial, best if trial in worst else []) for trial in sorted(order)]
        self._arrived = {}
        self._generation += 1
        return continuing, []

    def _continuation(self, trial: int, better: Sequence[int]) -> Continuation:
        if not better:
            return Continuation(trial, trial)
        rng = np.random.default_rng((self._seed, self._generation, trial))
        parent = better[int(rng.integers(len(better)))]
        values = self._space.perturbed(
            self._values[parent], rng, factor=self._spec.perturb, resample=self._spec.resample_probability
        )
        return Continuation(trial, parent, values)


SCHEDULERS: Mapping[type, Callable[[Any, Space, int, int], Scheduler]] = {
    RunAll: lambda spec, space, epochs, seed: _RunAll(),
    Median: _Median,
    Asha: _Asha,
    HyperBand: lambda spec, space, epochs, seed: _HyperBand(spec, epochs),
    PopulationBased: _PopulationBased,
}
