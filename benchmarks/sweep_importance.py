"""Measures how often a sweep's report is wrong about which choices mattered, and how often it finds one that did.

    python -m benchmarks.sweep_importance [--sweeps 1000] [--out benchmarks/results]

The sweeps run through the real study, with its searchers and its scheduler; only the AP of a trial is simulated. Every
run has normal noise with a standard deviation of 0.01, in part new at each epoch. The space has five dimensions: a
number on a logarithmic scale, a number, a whole number, a choice, and a number that only one value of the choice has.

* number: AP rises with the logarithm of `method.scale`, by the given effect from its lowest to its highest third.
* peak: AP is highest in the middle of `method.scale`, by the given effect over the outer thirds.
* choice: one value of `method.type` is better than both others by the given effect.
* conditional: AP rises with `method.alpha`, which one value of `method.type` has.

Effects are in standard deviations of a run.
"""

import argparse
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from pydantic import JsonValue

from benchmarks.sweep_verdicts import LEVEL, RUN_SD, Rate
from fgd_core.spec.dimensions import Choice, Condition, Dimension, Integers, LogUniform, Uniform
from fgd_core.spec.kinds.distill import DistillSpec
from fgd_core.spec.kinds.sweep import SweepSpec
from fgd_core.spec.results import Scores
from fgd_core.spec.search import Asha, Budget, Grid, QuasiRandom, Random, RunAll, SchedulerSpec, SearcherSpec, Tpe
from fgd_core.spec.sweep_effects import DimensionEffect, Effects
from fgd_core.spec.sweep_report import TrialPoint, TrialView
from service.compare.sweeps.effects import effects, value_name
from service.compare.sweeps.randomised import PARTS, trials_needed
from workers.tuning.study import Study

PROMISED = 0.05
EPOCHS = 3
"""The scheduler first decides after a third."""
SPACE: Mapping[str, Dimension] = {
    "method.scale": LogUniform(low=0.01, high=3),
    "training.clip_norm": Uniform(low=1, high=35),
    "training.warmup_steps": Integers(low=0, high=8),
    "method.type": Choice(values=("fgd", "pkd", "cwd")),
    "method.alpha": LogUniform(low=1e-4, high=1e-2, when=Condition(field="method.type", is_in=("fgd",))),
}
GRID: Mapping[str, Dimension] = {
    "method.scale": Choice(values=(0.01, 0.17, 3.0)),
    "method.type": Choice(values=("fgd", "pkd", "cwd")),
    "training.warmup_steps": Integers(low=0, high=1),
}
SEARCHERS: Mapping[str, SearcherSpec] = {
    "random": Random(),
    "quasi_random": QuasiRandom(),
    "tpe": Tpe(),
    "grid": Grid(),
}
SCHEDULERS: Mapping[str, SchedulerSpec] = {"none": RunAll(), "asha": Asha()}
_NOISE_OF_EPOCH = 0.1
"""The standard deviation of the part of the noise that is new at each epoch, relative to that of a run."""

Kind = Literal["nothing", "number", "peak", "choice", "conditional"]
_MATTERS: Mapping[Kind, str] = {
    "number": "method.scale",
    "peak": "method.scale",
    "choice": "method.type",
    "conditional": "method.alpha",
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """Describes one kind of simulated sweep."""

    searcher: str = "random"
    scheduler: str = "none"
    trials: int = 20
    matters: Kind = "nothing"
    effect: float = 0.0
    counts_all: bool = False
    """Count the trials that a searcher proposed from results as well, as the report does not."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """Holds what the report says of one sweep."""

    false: bool
    """A dimension without effect is said to matter."""
    found: bool
    """The dimension with an effect is said to matter."""
    missed_interval: bool
    """At least one interval misses the true difference."""
    needed: int | None
    """Trials that the report asks for, to find an effect of `training.clip_norm`."""


def judged(case: Case, sweeps: int, *, seed: int) -> Iterator[Judged]:
    """Simulate sweeps, and yield what the report says of each."""
    dice = np.random.default_rng(seed)
    for number in range(sweeps):
        spec = _spec(case, seed=1000 * seed + number)
        trials = simulated(spec, lambda values: RUN_SD * case.effect * _gain(case.matters, values), dice)
        if case.counts_all:
            spec = spec.model_copy(update={"searcher": Random()})
        yield _judged(case, effects(spec, trials))


def simulated(
    spec: SweepSpec, gain: Callable[[Mapping[str, JsonValue]], float], dice: np.random.Generator
) -> list[TrialView]:
    """Run a sweep without baselines to its end, and return its trials."""
    study, found = Study(spec), []
    while (started := study.begin()) is not None:
        final = LEVEL + gain(started.values) + RUN_SD * math.sqrt(1 - _NOISE_OF_EPOCH**2) * dice.normal()
        points: list[TrialPoint] = []
        state: Literal["stopped", "completed"] = "completed"
        for epoch in range(1, EPOCHS + 1):
            grown = final * (1 - 0.5 * math.exp(-epoch)) + RUN_SD * _NOISE_OF_EPOCH * dice.normal()
            reported = study.judge(started.trial, epoch, cast(Any, Scores).model_construct(ap=float(grown)), 1.0)
            assert reported is not None
            # Without validation, which would take most of the time.
            points.append(
                cast(Any, TrialPoint).model_construct(epoch=epoch, objectives=reported.objectives, rung=reported.rung)
            )
            if reported.verdict == "stop":
                state = "stopped"
                break
        study.end(started.trial, state)
        found.append(
            cast(Any, TrialView).model_construct(
                trial=started.trial,
                origin=started.origin,
                values=started.values,
                repeats=None,
                state=state,
                reports=points,
                objectives=[max(point.objectives[0] or 0.0 for point in points)],
                result=None,
                busy_s=60.0 * len(points),
            )
        )
    return found


def _spec(case: Case, *, seed: int) -> SweepSpec:
    space: Any = GRID if case.searcher == "grid" else SPACE
    return SweepSpec(
        name="simulated",
        base=_BASE,
        space=space,
        searcher=SEARCHERS[case.searcher],
        scheduler=SCHEDULERS[case.scheduler],
        budget=Budget(trials=case.trials),
        baselines=False,
        seed=seed,
    )


_BASE = DistillSpec.model_validate(
    {
        "kind": "distill",
        "name": "simulated",
        "student": {"type": "retinanet", "backbone": {"name": "resnet18"}},
        "teacher": {"checkpoint": "job:teacher/best"},
        "method": {"type": "fgd"},
        "data": {"type": "shapes"},
        "training": {"epochs": EPOCHS},
    }
)


def _gain(matters: Kind, values: Mapping[str, Any]) -> float:
    """The true gain in units of the effect; the difference of two thirds, or of two values, is 1."""
    scale = math.log(values["method.scale"] / 0.01) / math.log(3 / 0.01)
    match matters:
        case "nothing":
            return 0.0
        case "number":
            return 1.5 * scale
        case "peak":
            # The mean of a parabola over an outer third is lower than that over the middle by 1/9.
            return -9 * (scale - 0.5) ** 2
        case "choice":
            return float(values["method.type"] == "pkd")
        case "conditional":
            return 0.75 * math.log10(values["method.alpha"] / 1e-3) if "method.alpha" in values else 0.0


def _true_means(matters: Kind) -> list[float]:
    """The true mean of each value or third, by number, in units of the effect."""
    return {"peak": [-1.0, 0.0, -1.0], "choice": [0.0, 1.0, 0.0]}.get(matters, [0.0, 0.5, 1.0])


def _judged(case: Case, found: Effects) -> Judged:
    path = _MATTERS.get(case.matters)
    mattered = {each.path for each in found.dimensions if each.verdict == "mattered"}
    # The spread of AP does differ between methods of which one has a dimension that matters.
    null = set(SPACE) - {path} - ({"method.type"} if case.matters == "conditional" else set())
    others = {each.path: each.trials_needed for each in found.dimensions}
    return Judged(
        false=bool(mattered & null),
        found=path in mattered,
        missed_interval=any(
            _misses(case, each) for each in found.dimensions if each.path in mattered and case.searcher != "grid"
        ),
        needed=others.get("training.clip_norm"),
    )


def _misses(case: Case, each: DimensionEffect) -> bool:
    """Whether an interval of a dimension misses the true difference."""
    means = [0.0] * PARTS
    if each.path == _MATTERS.get(case.matters):
        means = [RUN_SD * case.effect * mean for mean in _true_means(case.matters)]
    # Only AP at the end of the training has the true differences; at a rung a part of it is reached.
    grown = 1 - 0.5 * math.exp(-(1 if case.scheduler == "asha" else EPOCHS))
    names = [value_name(SPACE[each.path], level) for level in range(PARTS)]
    best = means[names.index(each.values[0].value)]
    return any(
        value.low is not None
        and value.high is not None
        and not value.low <= grown * (best - means[names.index(value.value)]) <= value.high
        for value in each.values
    )


# -- the table -----------------------------------------------------------------------------------------------------


def _cases() -> dict[str, list[Case]]:
    drawn = [
        Case(searcher=searcher, scheduler=scheduler, trials=trials)
        for searcher in ("random", "tpe")
        for scheduler in ("none", "asha")
        for trials in (8, 12, 20, 50)
    ]
    quasi = [Case(searcher="quasi_random", trials=trials) for trials in (8, 20, 50)]
    grid = [Case(searcher="grid", trials=trials) for trials in (12, 18)]
    few = [Case(trials=trials) for trials in (8, 12, 20, 50)]
    few += [Case(scheduler="asha"), Case(searcher="tpe"), Case(searcher="tpe", scheduler="asha")]
    kinds: tuple[Kind, ...] = ("number", "peak", "choice", "conditional")
    large = [replace(each, matters="number", effect=4.0) for each in drawn if each.trials >= 20]
    return {
        "no effect": [*drawn, *quasi, *grid],
        **{f"{kind} by 2": [replace(each, matters=kind, effect=2.0) for each in few] for kind in kinds},
        "choice by 2, grid": [replace(each, matters="choice", effect=2.0) for each in grid],
        "number by 4": large,
        "number by 4, if all trials counted": [
            replace(each, counts_all=True) for each in large if each.searcher == "tpe"
        ],
    }


def enough() -> int | None:
    """The trials that find an effect of one standard deviation four times in five, if the noise were known."""
    return trials_needed(RUN_SD, RUN_SD**2, 10**6, levels=PARTS, rank=2, significant=PROMISED / len(SPACE))


def rates(found: Sequence[Judged], case: Case) -> dict[str, Rate | None]:
    """Return shares of the sweeps; None if a question has no answer in this case."""
    least = enough() or 0
    # At a rung, effects and noise are a part of those at the end.
    is_whole = case.scheduler == "none" and case.searcher != "grid" and not case.effect

    def rate(flags: Sequence[bool]) -> Rate:
        return Rate(count=sum(flags), of=len(flags))

    return {
        "false": rate([each.false for each in found]),
        "found": rate([each.found for each in found]) if case.effect else None,
        "interval_missed": rate([each.missed_interval for each in found]) if case.searcher != "grid" else None,
        "asked_for_enough": rate([(each.needed or 0) >= least for each in found]) if is_whole else None,
    }


def _markdown(rows: Sequence[Mapping[str, object]], sweeps: int) -> str:
    names = [name for name in rows[0] if name not in ("matters", "effect", "counts_all")]
    lines = [
        "# Which choices of a sweep mattered: error rates and power",
        "",
        f"`python -m benchmarks.sweep_importance`: {sweeps:,} simulated sweeps a row, judged by the product, "
        "with 95 % intervals by Wilson. Of five dimensions at most one has an effect, in standard deviations of a run. "
        f"`false`: another dimension is said to matter (promised: at most {100 * PROMISED:g} % of sweeps). `found`: "
        "the one with the effect is. `interval_missed`: an interval misses the difference (promised: at most 5 %). "
        f"`asked_for_enough`: the report asks for at least the {enough()} trials that find an effect of one standard "
        "deviation four times in five (aim: 80 %). The script describes the sweeps.",
        "",
        f"| {' | '.join(names)} |",
        "|" + "---|" * len(names),
        *(f"| {' | '.join(str(row[name]) for name in names)} |" for row in rows),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sweeps", type=int, default=1_000)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, object]] = []
    for name, cases in _cases().items():
        for number, case in enumerate(cases):
            found = rates(list(judged(case, arguments.sweeps, seed=number)), case)
            rows.append(
                {"sweeps": name}
                | asdict(case)
                | {key: "–" if rate is None else str(rate) for key, rate in found.items()}
            )
            print(rows[-1], flush=True)
    (arguments.out / "sweep_importance.json").write_text(json.dumps(rows, indent=1) + "\n")
    (arguments.out / "sweep_importance.md").write_text(_markdown(rows, arguments.sweeps))


if __name__ == "__main__":
    main()
