"""Trains the demo's plain and distilled students with several seeds: is the distilled one better on average?

    python -m benchmarks.demo_seeds [--seeds 5] [--out benchmarks/results]

The specs are those of `make demo`, and so is the teacher, which is trained once. Both students of a seed start with the
same weights and see the same batches, so the gain is the mean of the differences by seed, with the 95 % interval of
Student's t. Two runs go at the same time, one thread each. Finished runs are not repeated. About 7 minutes on 2 cores.
"""

import argparse
import json
import os
import platform
import statistics
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from rich.console import Console
from rich.progress import Progress
from scipy.stats import t as student_t

from benchmarks.inheritance import SPECS, run, student_spec
from fgd_core.spec.results import RunResult

STUDENTS = ("plain", "distilled")
CONFIDENCE = 0.95


class Gain(NamedTuple):
    """The mean of the differences of pairs, with its interval."""

    mean: float
    low: float
    high: float


def paired_gain(plain: Sequence[float], distilled: Sequence[float]) -> Gain:
    """Return by how much the distilled students are better, from the AP of at least two pairs."""
    differences = [ours - theirs for ours, theirs in zip(distilled, plain, strict=True)]
    count, mean = len(differences), statistics.mean(differences)
    half = student_t.ppf((1 + CONFIDENCE) / 2, count - 1) * statistics.stdev(differences) / count**0.5
    return Gain(mean, mean - half, mean + half)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="at least 2")
    parser.add_argument("--epochs", type=int, help="of the teacher and of each student; default: those of the demo")
    parser.add_argument("--work", type=Path, default=Path("build/demo_seeds"), help="folder for checkpoints")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="folder for the results")
    options = parser.parse_args()
    with Progress() as bars, ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        bar = bars.add_task("runs", total=1 + options.seeds * len(STUDENTS))
        teacher_spec = _shortened(yaml.safe_load((SPECS / "teacher.yaml").read_text()), options.epochs)
        teacher = pool.submit(trained, teacher_spec, options.work / "teacher").result()
        bars.advance(bar)
        checkpoint = options.work / "teacher/checkpoints/best.pt"
        cases = [(name, seed) for seed in range(options.seeds) for name in STUDENTS]
        specs = [_shortened(student_spec(checkpoint, *case), options.epochs) for case in cases]
        results = []
        for result in pool.map(trained, specs, [options.work / f"{name}-{seed}" for name, seed in cases]):
            results.append(result)
            bars.advance(bar)
    by_student = {name: results[index :: len(STUDENTS)] for index, name in enumerate(STUDENTS)}
    _write(options, teacher, by_student)


def trained(spec: dict[str, Any], folder: Path) -> RunResult:
    """Run a job on one thread; return its result, which may be stored from an earlier run."""
    torch.set_num_threads(1)
    finished = run(spec, folder)
    if finished.result is None:
        raise SystemExit(f"{spec['name']} {finished.outcome}: {finished.error and finished.error.message}")
    return finished.result


def _shortened(spec: dict[str, Any], epochs: int | None) -> dict[str, Any]:
    return spec if epochs is None else spec | {"training": spec["training"] | {"epochs": epochs}}


def _write(options: argparse.Namespace, teacher: RunResult, students: dict[str, list[RunResult]]) -> None:
    aps = {name: [each.scores.ap or 0.0 for each in results] for name, results in students.items()}
    gain = paired_gain(aps["plain"], aps["distilled"])
    document = {"teacher_ap": teacher.scores.ap, "aps": aps, "gain": gain._asdict(), "confidence": CONFIDENCE}
    text = "\n".join([*_head(options, teacher), *_table(aps, gain)]) + "\n"
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "demo_seeds.md").write_text(text)
    (options.out / "demo_seeds.json").write_text(json.dumps(document, indent=1) + "\n")
    Console().print(text, markup=False)


def _head(options: argparse.Namespace, teacher: RunResult) -> list[str]:
    return [
        "# The demo's students with several seeds",
        "",
        f"`python -m benchmarks.demo_seeds --seeds {options.seeds}` on {datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} "
        f"cores, {platform.machine()}, PyTorch {torch.__version__}. AP from 0 to 1 on {teacher.num_images} images of "
        f"`shapes`; the teacher has {teacher.scores.ap:.3f}.",
        "",
    ]


def _table(aps: dict[str, list[float]], gain: Gain) -> list[str]:
    seeds = range(len(aps["plain"]))
    differences = [ours - theirs for ours, theirs in zip(aps["distilled"], aps["plain"], strict=True)]
    rows = {**{name: ([f"{ap:.3f}" for ap in own], f"{statistics.mean(own):.3f}") for name, own in aps.items()}}
    rows["gain"] = ([f"{each:+.3f}" for each in differences], f"{gain.mean:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})")
    head = "| student | " + " | ".join(f"seed {seed}" for seed in seeds) + f" | mean ({CONFIDENCE:.0%} interval) |"
    body = [f"| {name} | {' | '.join(own)} | **{mean}** |" for name, (own, mean) in rows.items()]
    return [head, "|---|" + "---|" * (len(seeds) + 1), *body]


if __name__ == "__main__":
    main()
