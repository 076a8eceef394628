"""Compares `scale: auto` with the best scale of a sweep on three small settings.

    python -m benchmarks.auto_scale [--seeds 3] [--epochs 12] [--out benchmarks/results]

The demo's teacher is trained. In each setting a student learns with one seed at each of seven scales around the
published one; the best of these scales, the published scale, `scale: auto` and no distillation then train with the same
fresh seeds. The AP that `auto` loses is the mean difference over these seeds; the epochs that it saves are those of the
seven runs. Runs go at the same time, one thread each. Finished runs are not repeated. About 20 minutes on 2 cores.
"""

import argparse
import json
import os
import statistics
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import yaml
from rich.console import Console
from rich.progress import Progress, TaskID

from benchmarks.inheritance import SPECS, run
from fgd_core.spec.events import RunFinished

SCALES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
"""Factors on the published weights; 1 is published."""
Scale: TypeAlias = float | str


class Setting(NamedTuple):
    """A method and a student whose published weights were made for other networks and images."""

    why: str
    method: Mapping[str, Any]
    student: Mapping[str, Any] = {}


SETTINGS: Mapping[str, Setting] = {
    "fgd": Setting("the published scale drowns the task", {"type": "fgd", "temperature": "auto"}),
    "mgd": Setting(
        "the published scale, for two-stage detectors, is too weak",
        {"type": "mgd", "alpha": 5e-7, "lambda_": 0.45},
        {"type": "faster_rcnn", "rois_per_image": 64},
    ),
    "pkd": Setting("the loss has no units", {"type": "pkd"}),
}


class Case(NamedTuple):
    """One run."""

    setting: str
    scale: Scale
    seed: int

    @property
    def name(self) -> str:
        return f"{self.setting}-{self.scale}-{self.seed}"


def student_spec(case: Case, teacher: Path, epochs: int) -> dict[str, Any]:
    """Return the spec of a run; the scale 0 trains without distillation."""
    spec: dict[str, Any] = yaml.safe_load((SPECS / "distilled.yaml").read_text())
    setting = SETTINGS[case.setting]
    # A student of another kind has no norms of a RetinaNet's heads to set.
    shared = {key: value for key, value in spec["student"].items() if key != "head_norm" or not setting.student}
    spec["student"] = shared | dict(setting.student)
    spec["teacher"] = {"checkpoint": str(teacher), "gate": "keys"}
    spec["method"] = {**setting.method, "scale": case.scale}
    spec["training"] |= {"epochs": epochs, "evaluate_every": epochs}
    return spec | {"name": case.name, "seed": case.seed}


class Runs:
    """Runs cases at the same time, and returns their AP."""

    def __init__(self, pool: ProcessPoolExecutor, bars: Progress, bar: TaskID, options: argparse.Namespace) -> None:
        self._pool, self._bars, self._bar, self._options = pool, bars, bar, options
        self.teacher = options.work / "teacher/checkpoints/best.pt"

    def train_teacher(self) -> float:
        """Return the teacher's AP."""
        spec = yaml.safe_load((SPECS / "teacher.yaml").read_text())
        return self._ap(self._pool.submit(run, spec, self._options.work / "teacher").result())

    def aps(self, cases: Sequence[Case]) -> dict[Case, float]:
        """Return the AP of each case."""
        specs = [student_spec(case, self.teacher, self._options.epochs) for case in cases]
        folders = [self._options.work / case.name for case in cases]
        return dict(zip(cases, map(self._ap, self._pool.map(run, specs, folders)), strict=True))

    def _ap(self, finished: RunFinished) -> float:
        if finished.result is None:
            raise SystemExit(f"a run {finished.outcome}: {finished.error and finished.error.message}")
        self._bars.advance(self._bar)
        return finished.result.scores.ap or 0.0


class Comparison(NamedTuple):
    """The outcome of one setting; AP by seed."""

    setting: str
    searched: dict[float, float]
    """AP of the search's seed by scale."""
    best: float
    aps: dict[Scale, list[float]]
    """By scale: the best of the search, published, `auto` and 0, each with the fresh seeds."""

    @property
    def lost(self) -> list[float]:
        """The AP that `auto` loses against the best scale, by seed."""
        return [best - auto for best, auto in zip(self.aps[self.best], self.aps["auto"], strict=True)]


def compare(runs: Runs, num_seeds: int) -> list[Comparison]:
    """Search the scale of each setting with one seed, and compare with others."""
    searched = runs.aps([Case(name, scale, 0) for name in SETTINGS for scale in SCALES])
    bests = {name: max(SCALES, key=lambda scale: searched[Case(name, scale, 0)]) for name in SETTINGS}
    others: tuple[Scale, ...] = (1.0, "auto", 0.0)
    compared = {name: dict.fromkeys((bests[name], *others)) for name in SETTINGS}
    seeds = range(1, num_seeds + 1)
    fresh = runs.aps([Case(name, scale, seed) for seed in seeds for name in SETTINGS for scale in compared[name]])
    return [
        Comparison(
            name,
            {scale: searched[Case(name, scale, 0)] for scale in SCALES},
            bests[name],
            {scale: [fresh[Case(name, scale, seed)] for seed in seeds] for scale in compared[name]},
        )
        for name in SETTINGS
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="fresh seeds")
    parser.add_argument("--epochs", type=int, default=12, help="of each student")
    parser.add_argument("--work", type=Path, default=Path("build/auto_scale"), help="folder for checkpoints")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="folder for the results")
    options = parser.parse_args()
    total = 1 + len(SETTINGS) * (len(SCALES) + 4 * options.seeds)
    with Progress() as bars, ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        runs = Runs(pool, bars, bars.add_task("runs", total=total), options)
        teacher_ap = runs.train_teacher()
        found = compare(runs, options.seeds)
    _write(options, teacher_ap, found)


def _write(options: argparse.Namespace, teacher_ap: float, found: Sequence[Comparison]) -> None:
    text = (
        "\n".join([*_head(options, teacher_ap), *_comparison_table(options, found), "", *_search_table(found)]) + "\n"
    )
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "auto_scale.md").write_text(text)
    document = {"teacher_ap": teacher_ap, "settings": [each._asdict() for each in found]}
    (options.out / "auto_scale.json").write_text(json.dumps(document, indent=1) + "\n")
    Console().print(text, markup=False)


def _head(options: argparse.Namespace, teacher_ap: float) -> list[str]:
    return [
        "# A scale that finds itself against the best of a sweep",
        "",
        f"`python -m benchmarks.auto_scale --seeds {options.seeds} --epochs {options.epochs}` on "
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores. The demo's pair on `shapes` of 64 px; the teacher has "
        f"AP {teacher_ap:.3f}. AP of students is the mean over {options.seeds} fresh seeds.",
        "",
    ]


def _comparison_table(options: argparse.Namespace, found: Sequence[Comparison]) -> list[str]:
    rows = [
        "| setting | no distillation | published | best of the sweep | `auto` | AP lost by `auto` | epochs saved |",
        "|---|---|---|---|---|---|---|",
    ]
    for each in found:
        mean = {scale: statistics.mean(aps) for scale, aps in each.aps.items()}
        spread = statistics.stdev(each.lost) if options.seeds > 1 else float("nan")
        rows.append(
            f"| `{each.setting}`: {SETTINGS[each.setting].why} | {mean[0.0]:.3f} | {mean[1.0]:.3f} | "
            f"{mean[each.best]:.3f} at {each.best:g} | {mean['auto']:.3f} | "
            f"{statistics.mean(each.lost):+.3f} ± {spread:.3f} | {len(SCALES) * options.epochs} |"
        )
    return rows


def _search_table(found: Sequence[Comparison]) -> list[str]:
    head = "| AP by scale, one seed | " + " | ".join(f"{scale:g}" for scale in SCALES) + " |"
    rows = [
        f"| `{each.setting}` | " + " | ".join(f"{each.searched[scale]:.3f}" for scale in SCALES) + " |"
        for each in found
    ]
    return [head, "|---|" + "---|" * len(SCALES), *rows]


if __name__ == "__main__":
    main()
