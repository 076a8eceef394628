"""Measures the error rates and the power of the constraint "no class loses": simulated sweeps, the product's functions.

    python -m benchmarks.sweep_constraint [--sweeps 2000] [--out benchmarks/results]

Sweeps as in `benchmarks.sweep_verdicts`, with the AP of each class: a part of the noise of a run is common to its
classes. Every second searched configuration is harmful: its first class loses the given number of standard deviations
of a class's AP over seeds, while all its other classes gain.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from benchmarks.sweep_verdicts import LEVEL, Rate, trials_of
from benchmarks.sweep_verdicts import Case as Sweep
from fgd_core.spec.results import ClassScore, RunResult, Scores
from fgd_core.spec.search import NoClassLoses
from fgd_core.spec.sweep_report import Standing, TrialView
from service.compare.sweeps.constraint import constrained
from service.compare.sweeps.margins import is_repeated
from service.compare.sweeps.standings import standings

CLASS_SD = 0.02
"""The standard deviation of a class's AP over seeds."""
COMMON = 0.3
"""The share of that variance that all classes of a run have in common."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """Describes one kind of simulated sweep; effects are in standard deviations of a class's AP."""

    classes: int = 6
    seeds: int = 5
    finalists: int = 3
    gain: float = 0.0
    """Of each class with any searched configuration."""
    loss: float = 0.0
    """Of the first class with a harmful configuration, in place of the gain."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Counts the repeated configurations of one sweep; `first` is the best before and `chosen` the best after."""

    harmless: int
    refused_falsely: int
    harmful: int
    caught: int
    first_is_harmful: bool
    chosen_is_harmful: bool


def outcomes(case: Case, sweeps: int, *, seed: int) -> Iterator[Outcome]:
    """Simulate sweeps, and yield what the constraint did in each."""
    dice = np.random.default_rng(seed)
    of_sweep = Sweep(seeds=case.seeds, finalists=case.finalists)
    rows = 2 + of_sweep.trials
    effects = np.zeros((rows, case.classes))
    effects[2:] = case.gain
    if case.loss:
        effects[2::2, 0] = -case.loss
    for _ in range(sweeps):
        common = np.sqrt(COMMON) * dice.normal(size=(rows, case.seeds, 1))
        own = np.sqrt(1 - COMMON) * dice.normal(size=(rows, case.seeds, case.classes))
        aps = LEVEL + CLASS_SD * (effects[:, None] + common + own)  # (rows, seeds, classes)
        trials = [_with_classes(each, aps) for each in trials_of(of_sweep, aps.mean(axis=2))]
        ranked = standings(trials, ["maximize"])
        checked = constrained(ranked, trials, NoClassLoses(over=("classes",)), is_over=True)
        yield _outcome(case, ranked[0], checked)


def _outcome(case: Case, first: Standing, checked: Sequence[Standing]) -> Outcome:
    def is_harmful(each: Standing) -> bool:
        return case.loss > 0 and each.trial >= 2 and each.trial % 2 == 0

    repeated = [each for each in checked if is_repeated(each)]
    harmful = [each for each in repeated if is_harmful(each)]
    harmless = [each for each in repeated if not is_harmful(each)]
    return Outcome(
        harmless=len(harmless),
        refused_falsely=sum(each.is_passed_over for each in harmless),
        harmful=len(harmful),
        caught=sum(each.is_passed_over for each in harmful),
        first_is_harmful=is_harmful(first),
        chosen_is_harmful=is_harmful(checked[0]),
    )


def _with_classes(trial: TrialView, aps: np.ndarray) -> TrialView:
    of_run = aps[trial.repeats if trial.repeats is not None else trial.trial, trial.seed].tolist()
    # Without validation, which would take most of the time, and without unused fields.
    per_class = {
        f"class {place}": ClassScore.model_construct(ap=ap, ap50=ap, num_boxes=100) for place, ap in enumerate(of_run)
    }
    scores = cast(Any, Scores).model_construct(per_class=per_class)
    result = cast(Any, RunResult).model_construct(scores=scores)
    return cast(TrialView, SimpleNamespace(**vars(trial), result=result))


# -- the table -----------------------------------------------------------------------------------------------------


def _cases() -> list[Case]:
    return [
        Case(classes=classes, seeds=seeds, gain=gain, loss=loss)
        for gain, loss in ((0.0, 0.0), (1.0, 1.0), (1.0, 2.0), (1.0, 3.0))
        for classes in (3, 10)
        for seeds in (3, 5, 10)
    ]


def rates(found: Sequence[Outcome]) -> dict[str, Rate | None]:
    """Return shares: of harmless and of harmful repeated configurations, and of sweeps; None without any."""

    def rate(count: int, of: int) -> Rate | None:
        return Rate(count=count, of=of) if of else None

    return {
        "refused_falsely": rate(sum(each.refused_falsely for each in found), sum(each.harmless for each in found)),
        "caught": rate(sum(each.caught for each in found), sum(each.harmful for each in found)),
        "harmful_without_constraint": rate(sum(each.first_is_harmful for each in found), len(found)),
        "harmful_recommended": rate(sum(each.chosen_is_harmful for each in found), len(found)),
    }


def _markdown(rows: Sequence[dict[str, object]], sweeps: int) -> str:
    names = list(rows[0])
    lines = [
        "# Error rates and power of a sweep's constraint",
        "",
        f"`python -m benchmarks.sweep_constraint`: {sweeps:,} simulated sweeps a row, judged by the product's "
        "functions; 95 % intervals by Wilson. Gain and loss are in standard deviations of a class's AP over seeds. "
        "`refused_falsely` and `caught` are shares of the repeated configurations; the last two columns are shares of "
        "the sweeps. The script describes the sweeps.",
        "",
        f"| {' | '.join(names)} |",
        "|" + "---|" * len(names),
        *(f"| {' | '.join(str(row[name]) for name in names)} |" for row in rows),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sweeps", type=int, default=2_000)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    arguments = parser.parse_args()
    rows: list[dict[str, object]] = []
    for number, case in enumerate(_cases()):
        found = rates(list(outcomes(case, arguments.sweeps, seed=number)))
        rows.append(asdict(case) | {name: "–" if rate is None else str(rate) for name, rate in found.items()})
        print(rows[-1], flush=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "sweep_constraint.json").write_text(json.dumps(rows, indent=1) + "\n")
    (arguments.out / "sweep_constraint.md").write_text(_markdown(rows, arguments.sweeps))


if __name__ == "__main__":
    main()
