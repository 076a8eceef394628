"""Compares the loss curves of several ranks with those of one process, over 50 steps with the same global batch.

    python -m benchmarks.ranks [--sizes 2 4] [--out benchmarks/results]

Two of three images have no box, so in every step some rank has an image without boxes; with four ranks it has no other.
All ranks run on the CPU of this machine, so it measures no speed.
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from rich.console import Console

from tests.ranks.processes import on_ranks
from tests.ranks.scenes import distilled, plain, run, squares, training

CASES = (("retinanet", "fgd"), ("retinanet", "crosskd"), ("faster_rcnn", "fgd"), ("faster_rcnn", "defeat"))
_IMAGES, _EPOCHS = 40, 5
"""50 steps of four images."""


class Row(NamedTuple):
    """Compares the curves of some ranks with those of one process."""

    detector: str
    method: str
    size: int
    first_loss: float
    last_loss: float
    largest_difference: float
    """Of all losses, relative to the loss of one process."""


def rows(sizes: Sequence[int], folder: Path) -> Iterator[Row]:
    """Train each case in one process and on each number of ranks."""
    data = squares(folder / "data", _IMAGES)
    for detector, method in CASES:
        teacher = folder / detector
        if not teacher.exists():
            run(plain(data, detector), teacher)
        spec = distilled(data, detector, teacher / "checkpoints/last.pt", method, training=training(_EPOCHS))
        alone = run(spec, folder / f"{detector} {method} 1").values()
        for size in sizes:
            together = on_ranks(size, run, spec, folder / f"{detector} {method} {size}")[0].values()
            yield Row(
                detector,
                method,
                size,
                alone[0],
                alone[-1],
                max(abs(a - b) / abs(a) for a, b in zip(alone, together, strict=True)),
            )


def table(found: Sequence[Row]) -> str:
    lines = [
        "# Several ranks against one process",
        "",
        f"{_EPOCHS * _IMAGES // 4} steps with a global batch of 4 images of 64 px, of which two thirds have no box;",
        "float32 on the CPU, one thread a rank, all on one machine. `python -m benchmarks.ranks`",
        "",
        "Two-stage detectors choose proposals by comparing scores and overlaps. As soon as rounding turns one",
        "comparison, another region trains, and the curves part, as between two kinds of processors. Before, they are",
        "equal to 2e-7 (12 steps in `tests/ranks`).",
        "",
        "| detector | method | ranks | first loss | last loss | largest relative difference |",
        "|---|---|---|---|---|---|",
        *(
            f"| {row.detector} | {row.method} | {row.size} | {row.first_loss:.4f} | {row.last_loss:.4f} "
            f"| {row.largest_difference:.1e} |"
            for row in found
        ),
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    console, found = Console(), []
    with tempfile.TemporaryDirectory() as folder:
        for row in rows(options.sizes, Path(folder)):
            console.print(row)
            found.append(row)
            (options.out / "ranks.md").write_text(table(found))


if __name__ == "__main__":
    main()
