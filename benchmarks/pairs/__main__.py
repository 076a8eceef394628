"""Does every detector learn, and does every pair distil? Eight real images, on the CPU.

    python -m benchmarks.pairs [--only fcos gfl] [--data ../shared/data] [--work build/pairs]

First every detector in the table, and some of their versions and conventions, are trained, from scratch and by the
library's front door, on eight images until their AP on these same images exceeds a goal: that of boxes, on blood cells,
and where a detector has masks also that of masks, on nuclei. Whoever cannot learn eight images by heart learns nothing.
Then each detector trained is the teacher of a smaller, fresh student of every kind, for a few steps on one batch: the
loss has to be finite and to fall. What was trained before with the same spec is not trained again.
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
    parser.add_argument("--only", nargs="*", help="kinds of detectors; all without it")
    parser.add_argument("--epochs", type=int, default=250, help="at most; two steps each")
    parser.add_argument(
        "--data", type=Path, default=REPOSITORY.parent / "shared/data", help="the folder of bccd and nuclei_small"
    )
    parser.add_argument("--work", type=Path, default=Path("build/pairs"), help="where checkpoints go")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "benchmarks/results", help="where the figures go")
    torch.set_num_threads(1)  # as a job with one core; and others may be at work on the same machine
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
