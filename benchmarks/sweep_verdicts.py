"""Measures the error rates and the power of a sweep's verdict: simulated sweeps, the product's own functions.

    python -m benchmarks.sweep_verdicts [--sweeps 10000] [--out benchmarks/results]

Each sweep has the plain student and the published values as baselines and trials of a search. The best few trials, by
the run of the search, are repeated with new seeds, and so are the baselines, as `workers.tuning.study` does. The AP of
a run has a normal distribution; only these numbers are simulated.

* paired: half of the variance of a run comes from its seed; the product gives the same seeds to all configurations.
* unequal: the runs of all searched values vary twice or half as much as those of the baselines, or the runs of one
  trial vary three times as much.
* ties: AP is rounded to half a standard deviation of a run.
* effect: all searched values, or one of them, are better than the baselines by the given number of standard
  deviations of a run.
"""

import argparse
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np

from fgd_core.spec.sweep_report import Standing, TrialView
from service.compare.sweeps.margins import SIGNIFICANT, difference, shrunk_means
from service.compare.sweeps.standings import standings

PROMISED = 0.025
"""The largest share of sweeps without an effect in which the verdict puts the winner above the plain student."""
RUN_SD = 0.01
"""The standard deviation of AP over seeds."""
LEVEL = 0.3


@dataclass(frozen=True, kw_only=True)
class Case:
    """Describes one kind of simulated sweep."""

    trials: int = 12
    finalists: int = 3
    seeds: int = 3
    is_paired: bool = False
    spread: float = 1.0
    """The standard deviation of runs of searched values, relative to that of the baselines."""
    spread_of_one: float = 1.0
    """A further factor for one of the searched values."""
    effect: float = 0.0
    """The true gain of the searched values, in standard deviations of a run."""
    on_one: bool = False
    """Only one trial has the effect."""
    rounded_to: float = 0.0
    """The precision of AP, in standard deviations of a run; 0: not rounded."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """Holds the verdict on one sweep; differences are in standard deviations of a run."""

    is_above_plain: bool
    is_any_above_plain: bool
    """Any configuration, not only the winner: the report compares the best of each method with the plain student."""
    is_above_published: bool
    is_above_runner_up: bool
    """Although the runner-up is truly as good."""
    true: float
    """The true gain of the winner over the plain student."""
    measured: float
    expected: float
    """The shrunk gain."""
    chosen_at: float
    """The gain in the run of the search, which selected the winner."""


@dataclass(frozen=True, kw_only=True)
class Rate:
    """Holds a share and its confidence interval."""

    count: int
    of: int

    @property
    def share(self) -> float:
        """Return the share, in [0, 1]."""
        return self.count / self.of

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval by Wilson."""
        z, n, p = 1.96, self.of, self.share
        middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{100 * self.share:.1f} % ({100 * low:.1f} to {100 * high:.1f})"


def judged(case: Case, sweeps: int, *, seed: int) -> Iterator[Judged]:
    """Simulate sweeps, and yield the verdict on each."""
    for values, effects in _drawn(case, sweeps, seed):
        ranked = standings(trials_of(case, values), ["maximize"])
        by_trial = {each.trial: each for each in ranked}
        winner, plain = ranked[0], by_trial[0]
        expected = shrunk_means(ranked)
        of_winner = values[winner.trial]
        yield Judged(
            is_above_plain=_is_clear(winner, plain, ranked),
            is_any_above_plain=any(_is_clear(each, plain, ranked) for each in ranked),
            is_above_published=_is_clear(winner, by_trial[1], ranked),
            is_above_runner_up=bool(
                effects[winner.trial] <= effects[ranked[1].trial] and _is_clear(winner, ranked[1], ranked)
            ),
            true=float(effects[winner.trial]),
            measured=float(np.mean(winner.seed_values) - np.mean(plain.seed_values)) / RUN_SD,
            expected=(expected[winner.trial] - expected[0]) / RUN_SD,
            chosen_at=float(of_winner[0] - values[0][0]) / RUN_SD,
        )


def trials_of(case: Case, values: Sequence[Sequence[float]] | np.ndarray) -> list[TrialView]:
    """Return the trials of a finished sweep.

    Args:
        values: (2 + trials, seeds) AP of both baselines and of all searched values. A trial that is not repeated uses
            only its first value.
    """
    searched = sorted(range(2, len(values)), key=lambda trial: (-values[trial][0], trial))
    found = [_trial(number, _origin(number), values[number][0]) for number in range(len(values))]
    for seed in range(1, case.seeds):
        for first in (0, 1, *searched[: case.finalists]):
            found.append(_trial(len(found), "finalist", values[first][seed], seed=seed, repeats=first))
    return found


def _drawn(case: Case, sweeps: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield, per sweep, AP (2 + trials, seeds) and the true gains (2 + trials,) in standard deviations of a run."""
    dice = np.random.default_rng(seed)
    rows = 2 + case.trials
    spread = np.array([1.0, 1.0, case.spread_of_one * case.spread, *[case.spread] * (case.trials - 1)])
    effects = np.array([0.0, 0.0, case.effect, *[0.0 if case.on_one else case.effect] * (case.trials - 1)])
    with_seed = math.sqrt(0.5) if case.is_paired else 0.0
    for _ in range(sweeps):
        noise = with_seed * dice.normal(size=(1, case.seeds))
        noise = noise + math.sqrt(1 - with_seed**2) * dice.normal(size=(rows, case.seeds))
        values = effects[:, None] + spread[:, None] * noise
        if case.rounded_to:
            values = np.round(values / case.rounded_to) * case.rounded_to
        yield LEVEL + RUN_SD * values, effects


def _is_clear(winner: Standing, other: Standing, ranked: Sequence[Standing]) -> bool:
    found = difference(winner, other, ranked)
    return found is not None and found.value > 0 and found.p_value < SIGNIFICANT


def _origin(number: int) -> str:
    return ("plain", "published")[number] if number < 2 else "searcher"


def _trial(number: int, origin: str, ap: float, *, seed: int = 0, repeats: int | None = None) -> TrialView:
    # No model, whose making would take most of the time for a hundred thousand sweeps, and without unused fields.
    trial = SimpleNamespace(
        trial=number,
        origin=origin,
        values={},
        seed=seed,
        repeats=repeats,
        state="completed",
        epoch=1,
        epochs=1,
        reports=[],
        objectives=[float(ap)],
    )
    return cast(TrialView, trial)


# -- the table -----------------------------------------------------------------------------------------------------


def _cases() -> dict[str, list[Case]]:
    grid = [
        Case(trials=trials, finalists=finalists, seeds=seeds, is_paired=is_paired)
        for is_paired in (False, True)
        for trials in (8, 12, 40)
        for finalists in (3, 5)
        for seeds in (3, 5)
    ]
    small = [each for each in grid if each.trials == 12 and not each.is_paired]
    return {
        "no effect": grid,
        "no effect, searched values vary twice as much": [replace(each, spread=2.0) for each in small],
        "no effect, searched values vary half as much": [replace(each, spread=0.5) for each in small],
        "no effect, one trial varies three times as much": [replace(each, spread_of_one=3.0) for each in small],
        "no effect, ties": [replace(each, rounded_to=0.5) for each in small],
        "all searched values better by 1": [replace(each, effect=1.0) for each in small],
        "all searched values better by 2": [replace(each, effect=2.0) for each in small],
        "one trial better by 2": [replace(each, effect=2.0, on_one=True) for each in small],
    }


def _row(name: str, case: Case, found: Sequence[Judged]) -> dict[str, object]:
    def rate(count: int) -> Rate:
        return Rate(count=count, of=len(found))

    def bias(values: Sequence[float]) -> float:
        return float(np.mean(values))

    return {
        "name": name,
        "trials": case.trials,
        "finalists": case.finalists,
        "seeds": case.seeds,
        "paired": case.is_paired,
        "above_plain": str(rate(sum(each.is_above_plain for each in found))),
        "above_published": str(rate(sum(each.is_above_published for each in found))),
        "above_an_equal_runner_up": str(rate(sum(each.is_above_runner_up for each in found))),
        "bias_of_choosing_run": bias([each.chosen_at - each.true for each in found]),
        "bias_of_fresh_seeds": bias([each.measured - each.true for each in found]),
        "bias_of_shrunk_gain": bias([each.expected - each.true for each in found]),
    }


def _markdown(rows: Sequence[dict[str, object]], sweeps: int) -> str:
    lines = [
        "# Error rates and power of a sweep's verdict",
        "",
        f"`python -m benchmarks.sweep_verdicts`, {datetime.now(UTC):%Y-%m-%d}. {sweeps:,} simulated sweeps a row, "
        "evaluated by the product's functions; rates with 95 % intervals (Wilson); biases in standard deviations of a "
        f"run. Promised: above the plain student in at most {100 * PROMISED:g} % of sweeps without an effect, and the "
        "same for the published values; above a runner-up that is as good in at most 5 %. With an effect the rates are "
        "the power. The script describes each kind of sweep.",
        "",
        "| sweeps | trials | finalists | seeds | paired | above plain | above published | above an equal runner-up "
        "| bias: choosing run | fresh seeds | shrunk |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        biases = [f"{row[f'bias_of_{name}']:+.2f}" for name in ("choosing_run", "fresh_seeds", "shrunk_gain")]
        rates = [row[f"above_{name}"] for name in ("plain", "published", "an_equal_runner_up")]
        what = [row[name] for name in ("name", "trials", "finalists", "seeds")]
        lines.append(f"| {' | '.join(map(str, [*what, 'yes' if row['paired'] else 'no', *rates, *biases]))} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sweeps", type=int, default=10_000)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    arguments = parser.parse_args()
    rows = []
    for name, cases in _cases().items():
        for number, case in enumerate(cases):
            rows.append(_row(name, case, list(judged(case, arguments.sweeps, seed=number))))
            print(rows[-1], flush=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "sweep_verdicts.json").write_text(json.dumps(rows, indent=1) + "\n")
    (arguments.out / "sweep_verdicts.md").write_text(_markdown(rows, arguments.sweeps))


if __name__ == "__main__":
    main()
