"""Measures how often a `left_over` study finds classes that distilling hurts, and others: simulated studies.

    python -m benchmarks.left_over [--draws 1000] [--out benchmarks/results]

In each study 20 classes are trained with some seeds, with and without distillation. Some classes lose the given number
of standard deviations of a run; half of a class's variance is shared by all classes of a run.
`tests.studies.drawn.planted` draws the APs, and the product's functions judge them.
"""

import argparse
from datetime import UTC, datetime
from pathlib import Path

from tests.studies.drawn import planted

CASES = ((3, 0, 0.0), (5, 0, 0.0), (3, 4, 3.5), (5, 4, 2.0), (5, 4, 3.0), (5, 4, 3.5), (10, 4, 2.0))
"""Seeds, hurt classes, loss."""
NUM_CLASSES = 20


def main() -> None:
    """Simulate all cases, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=1000, help="simulated studies of each case")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    rows = []
    for seeds, num_hurt, effect in CASES:
        found = planted(draws=options.draws, seeds=seeds, num_classes=NUM_CLASSES, num_hurt=num_hurt, effect=effect)
        power = f"{found.power:.2f}" if num_hurt else "–"
        rows.append(
            f"| {seeds} | {num_hurt} | {effect} | {power} | {found.false_discoveries:.3f} | {found.any_false:.3f} |"
        )
        print(rows[-1], flush=True)
    heading = (
        "# Power and false discoveries of `left_over`\n\n"
        f"`python -m benchmarks.left_over`, {datetime.now(UTC):%Y-%m-%d}. "
        f"{options.draws:,} simulated studies of {NUM_CLASSES} classes a row; losses in standard deviations of a run. "
        "Promised: false discoveries of at most 0.05.\n\n"
        "| seeds | hurt classes | loss | power | false discoveries | studies that name a wrong class |\n"
        "|---|---|---|---|---|---|\n"
    )
    (options.out / "left_over.md").write_text(heading + "\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
