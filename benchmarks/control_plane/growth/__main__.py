"""Measures how the control plane slows down with what is stored, and operations on much data that have a target.

    make bench-growth
    python -m benchmarks.control_plane.growth [--jobs 10000 100000] [--engines sqlite postgresql] [--out FOLDER]

All in this process, over the real application. Writes `growth.json` and `growth.md`. A read and the tick should grow by
at most 1.5 times. With one number of jobs after `--jobs` only the times are measured.
"""

import argparse
import json
import os
import platform
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog
from rich.console import Console

from benchmarks.control_plane.engines import Engine
from benchmarks.control_plane.growth import ended_jobs, large_sweep, long_job, reads
from benchmarks.control_plane.growth.figures import Figure, Single, growth_table, singles_table

ENGINES: tuple[Engine, ...] = ("sqlite", "postgresql")
PARTS = ("reads", "ended_jobs", "large_sweep", "long_job")


def main() -> None:
    # No line for each request.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", nargs="+", type=int, default=[10_000, 100_000])
    parser.add_argument("--trials", type=int, default=5_000)
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[2] / "results")
    options = parser.parse_args()
    singles_of: dict[str, Callable[[], list[Single]]] = {
        "large_sweep": lambda: large_sweep.measure(options.trials),
        "long_job": lambda: long_job.measure(options.points),
        "ended_jobs": lambda: ended_jobs.measure(options.jobs[-1]),
    }
    singles = [each for part, measure in singles_of.items() if part in options.only for each in measure()]
    figures: list[Figure] = []
    if "reads" in options.only:
        figures = [
            each for engine in options.engines for number in options.jobs for each in reads.measure(engine, number)
        ]
    _write(options.out, figures, singles, options.jobs)


def _write(folder: Path, figures: Sequence[Figure], singles: Sequence[Single], numbers: Sequence[int]) -> None:
    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.release()}, Python {platform.python_version()}"
    rows = [{**each._asdict(), "took": each.took._asdict()} for each in figures]
    content = {"machine": machine, "reads": rows, "singles": [each._asdict() for each in singles]}
    tables = [*([growth_table(figures, numbers)] if figures else []), *([singles_table(singles)] if singles else [])]
    text = "\n\n".join(["# How the control plane grows", f"`make bench-growth` on {machine}.", *tables]) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "growth.json").write_text(json.dumps(content, indent=1) + "\n")
    (folder / "growth.md").write_text(text)
    Console(width=200).print(text, markup=False)


if __name__ == "__main__":
    main()
