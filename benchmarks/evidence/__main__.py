"""Trains plain and distilled students on real data, and records each finished run.

    python -m benchmarks.evidence [--data bccd nuclei] [--arms plain fgd ...] [--seeds 5] [--shared ../shared]

Writes `benchmarks/results/evidence.md`. Finished runs are recorded in `benchmarks/results/evidence/`, and
are not repeated: a run that was interrupted begins again. Each run takes one thread and about two minutes.
"""

import argparse
from pathlib import Path

from rich.console import Console

from benchmarks.evidence.plan import ARMS, PLAIN, settings
from benchmarks.evidence.report import write
from benchmarks.evidence.running import TEACHER, train


def main() -> None:
    root = Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=root.parent / "shared", help="folder with the real data sets")
    parser.add_argument("--data", nargs="+", choices=list(settings(Path())), default=list(settings(Path())))
    parser.add_argument("--arms", nargs="+", choices=[TEACHER, PLAIN, *ARMS], default=[TEACHER, PLAIN, *ARMS])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--work", type=Path, default=root / "build/evidence", help="folder for checkpoints")
    options = parser.parse_args()
    console = Console()
    for seed in range(options.seeds):
        for name in options.data:
            for arm in options.arms:
                run = train(name, settings(options.shared.resolve())[name], arm, seed, options.work)
                console.print(f"{name:8} {arm:14} seed {seed}: AP {run.scores.ap or 0.0:.3f} ({run.train_s:.0f} s)")
    console.print(write(settings(Path())), markup=False)


if __name__ == "__main__":
    main()
