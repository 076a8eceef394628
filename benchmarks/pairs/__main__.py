"""Checks that every detector learns and that every pair distils: eight real images, on the CPU.

    python -m benchmarks.pairs [--only fcos gfl] [--data ../shared/data] [--work build/pairs]

First the benchmark trains every detector of the table, and some of their versions and conventions, from scratch as
normal jobs. A detector trains on eight images until its AP on the same images exceeds a goal: box AP on blood cells, or
box and mask AP on nuclei if it has masks. A detector that cannot memorise eight images cannot learn at all. Then each
trained detector is the teacher of a smaller new student of every kind, for a few steps on one batch. The loss must be
finite and must decrease. A detector that was trained earlier with the same spec is not trained again.
"""

import argparse
from pathlib import Path

import torch
from rich.console import Console

from benchmarks.pairs.candidates import PLAIN, VARIANTS
from benchmarks.pairs.distilling import distil
from benchmarks.pairs.learning import overfit
from benchmarks.pairs.table import write

REPOSITORY = Path(__file__).resolve().parents[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", help="kinds of detectors; default: all")
    parser.add_argument("--epochs", type=int, default=250, help="most epochs; an epoch has two steps")
    parser.add_argument(
        "--data", type=Path, default=REPOSITORY.parent / "shared/data", help="folder with bccd and nuclei_small"
    )
    parser.add_argument("--work", type=Path, default=Path("build/pairs"), help="folder for checkpoints")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "benchmarks/results", help="folder for the results")
    torch.set_num_threads(1)  # as in a job with one core
    options = parser.parse_args()
    console = Console()
    chosen = [each for each in (*PLAIN, *VARIANTS) if not options.only or each.name in options.only]
    learned = []
    for candidate in chosen:
        learned.append(overfit(candidate, options.data, options.work, epochs=options.epochs))
        console.print(learned[-1])
    plain = {candidate.name: candidate for candidate in chosen if candidate in PLAIN}
    teachers = [Path(row.checkpoint) for row in learned if row.detector in plain]
    pairs = [distil(student, teacher, options.data, options.work) for student in plain.values() for teacher in teachers]
    console.print(write(options.out, learned, pairs), markup=False)
    if not (all(row.is_good for row in learned) and all(pair.is_good for pair in pairs)):
        raise SystemExit("not every detector learned, or not every pair distils; see the table")


if __name__ == "__main__":
    main()
