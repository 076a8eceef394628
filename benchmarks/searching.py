"""Compares searchers and schedulers on known functions: the real driver and study, with numbers in place of training.

    python -m benchmarks.searching [--seeds 20] [--out benchmarks/results]

Each function is of the kind that its searcher is made for. Random search gets the same budget and seeds. The score is
the distance to the optimum; with two objectives, the share of the front's area that is missed; for quasi-random search,
the largest distance from a point to the nearest trial. Lower is better.
"""

import argparse
import json
import math
import statistics
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from fgd_core.spec.kinds.distill import DistillSpec
from fgd_core.spec.kinds.train import TrainSpec
from fgd_core.spec.methods.fgd import Fgd
from fgd_core.spec.trials import TrialEnded, TrialReported, TrialStarted
from tests.tuning.function_trials import Memory, run, sweep

_LOG = {"type": "log_uniform", "low": 1e-6, "high": 1e0}
_WEIGHTS = ("alpha", "beta", "gamma", "lambda_")
_SPACE: dict[str, Any] = {f"method.{name}": _LOG for name in _WEIGHTS} | {
    "method.temperature": {"type": "log_uniform", "low": 0.1, "high": 10}
}


@dataclass(frozen=True)
class Case:
    """A searcher with the function that it is made for."""

    searcher: dict[str, Any]
    function: Callable[[np.ndarray], float]
    num_dimensions: int
    num_trials: int
    why: str


def _unit(spec: TrainSpec | DistillSpec, num_dimensions: int) -> np.ndarray:
    """Return the searched fields, shape (num_dimensions,), each scaled to [0, 1]."""
    assert isinstance(spec, DistillSpec)
    assert isinstance(spec.method, Fgd)
    assert isinstance(spec.method.temperature, float)
    weights = [math.log10(max(getattr(spec.method, name), 1e-9)) / 6 + 1 for name in _WEIGHTS]
    return np.array([*weights, math.log10(spec.method.temperature) / 2 + 0.5])[:num_dimensions]


def smooth(x: np.ndarray) -> float:
    """Return a smooth hill with the maximum 1 at 0.3, 0.4, …; all dimensions have the same weight."""
    return float(np.exp(-4 * np.sum((x - 0.3 - 0.1 * np.arange(len(x))) ** 2)))


def wavy(x: np.ndarray) -> float:
    """Return `smooth` with ripples, which add local maxima."""
    ripples = 0.03 * np.mean(np.cos(12 * math.pi * (x - 0.3 - 0.1 * np.arange(len(x)))) - 1)
    return smooth(x) + float(ripples)


def valley(x: np.ndarray) -> float:
    """Return a narrow, slanted ridge: one weight can compensate for another that is too large."""
    slanted = np.array([x[0] + x[1] - 0.9, *(x[2:] - 0.45), 0.2 * (x[0] - x[1])])
    return float(np.exp(-12 * np.sum(slanted**2)))


CASES: Mapping[str, Case] = {
    "tpe": Case({"type": "tpe"}, wavy, 5, 80, "five weights, several hills"),
    "gaussian_process": Case({"type": "gaussian_process"}, smooth, 3, 30, "few trials, smooth, three weights"),
    "cma_es": Case({"type": "cma_es"}, valley, 5, 200, "many trials, a slanted ridge"),
}


def _regret(case: Case, searcher: dict[str, Any], seed: int, folder: Path) -> float:
    paths = list(_SPACE)[: case.num_dimensions]
    spec = sweep(
        {path: _SPACE[path] for path in paths},
        searcher=searcher,
        scheduler={"type": "none"},
        budget={"trials": case.num_trials},
        baselines=False,
        epochs=1,
        seed=seed,
    )
    memory = Memory(folder)
    run(spec, lambda trial, epoch: case.function(_unit(trial, case.num_dimensions)), memory)
    return 1.0 - max(e.objectives[0] or 0.0 for e in memory.events if isinstance(e, TrialReported))


def _missed_area(searcher: dict[str, Any], seed: int, folder: Path) -> float:
    """Return the missed share of the front of two conflicting objectives: AP falls where AP of small objects rises."""
    paths = list(_SPACE)[:3]
    spec = sweep(
        {path: _SPACE[path] for path in paths},
        searcher=searcher,
        scheduler={"type": "none"},
        objectives=[{"metric": "ap"}, {"metric": "ap_small"}],
        budget={"trials": 200},
        baselines=False,
        epochs=1,
        seed=seed,
    )
    points: list[tuple[float, float]] = []

    def both(trial: TrainSpec | DistillSpec, epoch: int) -> dict[str, float]:
        x = _unit(trial, 3)
        narrow = float(np.exp(-20 * np.sum((x[1:] - 0.6) ** 2)))
        points.append((narrow * float(x[0]), narrow * (1 - float(x[0]) ** 2)))
        return {"ap": points[-1][0], "ap_small": points[-1][1]}

    run(spec, both, Memory(folder))
    area, height = 0.0, 0.0
    for x, y in sorted(points, reverse=True):
        if y > height:
            area, height = area + x * (y - height), y
    # 2/3 is the area below the front y = 1 - x² from 0 to 1.
    return 1 - area / (2 / 3)


def _largest_hole(searcher: dict[str, Any], seed: int, folder: Path) -> float:
    """Return the largest distance from a point of the unit square to the nearest of 64 trials."""
    spec = sweep(
        {path: _SPACE[path] for path in list(_SPACE)[:2]},
        searcher=searcher,
        scheduler={"type": "none"},
        budget={"trials": 64},
        baselines=False,
        epochs=1,
        seed=seed,
    )
    points: list[np.ndarray] = []

    def note(trial: TrainSpec | DistillSpec, epoch: int) -> float:
        points.append(_unit(trial, 2))
        return smooth(points[-1])

    run(spec, note, Memory(folder))
    side = np.linspace(0, 1, 101)
    anywhere = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 1, 2)
    return float(np.linalg.norm(anywhere - np.array(points), axis=-1).min(axis=1).max())


def _asha(seeds: int, folder: Path) -> dict[str, Any]:
    """Compare the same trials with and without ASHA, on learning curves that may cross."""

    def value(trial: TrainSpec | DistillSpec, epoch: int) -> float:
        x = _unit(trial, 5)
        noise = 0.004 * math.sin(1000 * float(np.sum(x)) + epoch)
        return 0.4 * wavy(x) * (1 - math.exp(-epoch / (4 + 6 * float(x[0])))) + noise

    same, epochs, lost = 0, {"asha": 0, "none": 0}, []
    schedulers: dict[str, dict[str, Any]] = {"none": {}, "asha": {"grace_epochs": 1}}
    for seed in track(range(seeds), "ASHA", transient=True):
        found = {}
        for scheduler, settings in schedulers.items():
            spec = sweep(
                _SPACE,
                searcher={"type": "random"},
                scheduler={"type": scheduler, **settings},
                budget={"trials": 60},
                baselines=False,
                epochs=27,
                seed=seed,
            )
            memory = Memory(folder / f"{scheduler} {seed}")
            _, executor = run(spec, value, memory)
            epochs[scheduler] += executor.epochs_run
            ended = [e for e in memory.events if isinstance(e, TrialEnded) and e.objectives]
            best = max(ended, key=lambda e: e.objectives[0] if e.objectives and e.objectives[0] else 0.0)
            values = next(e.values for e in memory.events if isinstance(e, TrialStarted) and e.trial == best.trial)
            found[scheduler] = (values, best.objectives[0] if best.objectives else None)
        same += found["asha"][0] == found["none"][0]
        lost.append((found["none"][1] or 0.0) - (found["asha"][1] or 0.0))
    return {
        "same_winner": same,
        "seeds": seeds,
        "epochs_asha": epochs["asha"],
        "epochs_none": epochs["none"],
        "share_of_epochs": epochs["asha"] / epochs["none"],
        "median_loss": statistics.median(lost),
        "largest_loss": max(lost),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for searcher, case in CASES.items():
            pairs = [
                (
                    _regret(case, case.searcher, seed, folder / f"{searcher} {seed}"),
                    _regret(case, {"type": "random"}, seed, folder / f"random for {searcher} {seed}"),
                )
                for seed in track(range(arguments.seeds), searcher, transient=True)
            ]
            rows.append(_row(searcher, case.why, case.num_trials, pairs))
        for searcher, score, num_trials, why in (
            ("nsga2", _missed_area, 200, "two conflicting objectives"),
            ("quasi_random", _largest_hole, 64, "the largest hole between trials of two weights"),
        ):
            pairs = [
                (
                    score({"type": searcher}, seed, folder / f"{searcher} {seed}"),
                    score({"type": "random"}, seed, folder / f"random for {searcher} {seed}"),
                )
                for seed in track(range(arguments.seeds), searcher, transient=True)
            ]
            rows.append(_row(searcher, why, num_trials, pairs))
        asha = _asha(arguments.seeds, folder)
    found = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "searchers": rows, "asha": asha}
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "searching.json").write_text(json.dumps(found, indent=1) + "\n")
    (arguments.out / "searching.md").write_text(_markdown(found))
    _show(found)


def _row(searcher: str, why: str, num_trials: int, pairs: list[tuple[float, float]]) -> dict[str, Any]:
    ours, random = ([pair[side] for pair in pairs] for side in (0, 1))
    return {
        "searcher": searcher,
        "function": why,
        "trials": num_trials,
        "median": statistics.median(ours),
        "median_random": statistics.median(random),
        "better_seeds": sum(mine < other for mine, other in pairs),
        "seeds": len(pairs),
    }


def _markdown(found: Mapping[str, Any]) -> str:
    lines = [
        "# Searchers and ASHA on known functions\n",
        f"`python -m benchmarks.searching`, {found['at'][:10]}. Score (see the script), median of "
        f"{found['asha']['seeds']} seeds; lower is better. The functions are in the script.\n",
        "| searcher | function | trials | searcher's score | random search | better in |",
        "|---|---|---|---|---|---|",
    ]
    for row in found["searchers"]:
        better = f"{row['better_seeds']} of {row['seeds']} seeds"
        figures = f"{row['median']:.4f} | {row['median_random']:.4f}"
        lines.append(f"| {row['searcher']} | {row['function']} | {row['trials']} | {figures} | {better} |")
    asha = found["asha"]
    lines.append(
        "\nASHA (rungs after 1, 3 and 9 of 27 epochs, 60 trials of random search) trained "
        f"{asha['share_of_epochs']:.0%} of the epochs that training all trials takes, and found the same winner in "
        f"{asha['same_winner']} of {asha['seeds']} seeds. Its best objective was lower by {asha['median_loss']:.4f} in "
        f"the median and by {asha['largest_loss']:.4f} at most; the best value is about 0.4."
    )
    return "\n".join(lines) + "\n"


def _show(found: Mapping[str, Any]) -> None:
    console = Console()
    table = Table("searcher", "trials", "distance to the optimum", "random search", "better in")
    for row in found["searchers"]:
        better = f"{row['better_seeds']} of {row['seeds']}"
        figures = (f"{row['median']:.4f}", f"{row['median_random']:.4f}")
        table.add_row(row["searcher"], str(row["trials"]), *figures, better)
    console.print(table)
    console.print(found["asha"])


if __name__ == "__main__":
    main()
