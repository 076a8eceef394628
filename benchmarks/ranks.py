"""Compares the loss curves of several ranks with those of one process, over 50 steps with the same global batch.

    python -m benchmarks.ranks [--sizes 2 4] [--numbers float64 float32] [--out benchmarks/results]

Two of three images have no box, so in every step some rank has an image without boxes; with four ranks it has no other.
In float64 the curves are equal unless the ranks compute something else. In float32, which jobs use, rounding may turn
a comparison of two proposals. As a control, one process trains again with two threads, which only rounds in another
order. All ranks run on the CPU of this machine, so it measures no speed.
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from rich.console import Console

from tests.ranks.processes import on_ranks
from tests.ranks.scenes import distilled, plain, run, run_in_float64, squares, training


class Case(NamedTuple):
    """Names what is trained, and in which numbers."""

    numbers: str
    detector: str
    method: str


_IN_BOTH = (("retinanet", "fgd"), ("retinanet", "crosskd"), ("faster_rcnn", "fgd"), ("faster_rcnn", "defeat"))
_DRAWING = (("faster_rcnn_drawing", "fgd"), ("faster_rcnn_drawing", "defeat"))
CASES = {
    "float64": [Case("float64", *each) for each in (*_IN_BOTH, *_DRAWING)],
    "float32": [Case("float32", *each) for each in _IN_BOTH],
}
_RUNS = {"float64": run_in_float64, "float32": run}
_IMAGES, _EPOCHS = 40, 5
"""50 steps of four images."""
_TOLERANCE = 1e-5


class Row(NamedTuple):
    """Compares the curves of some ranks with those of one process."""

    case: Case
    who: str
    first_loss: float
    last_loss: float
    largest_difference: float
    """Of all losses, relative to the loss of one process."""
    equal_steps: int
    """The steps before the first difference above `_TOLERANCE`."""


def rows(cases: Sequence[Case], sizes: Sequence[int], folder: Path) -> Iterator[Row]:
    """Train each case in one process and on each number of ranks."""
    data = squares(folder / "data", _IMAGES)
    for case in cases:
        teacher, own, train = folder / case.detector, folder / " ".join(case), _RUNS[case.numbers]
        if not teacher.exists():
            run(plain(data, case.detector), teacher)
        spec = distilled(data, case.detector, teacher / "checkpoints/last.pt", case.method, training=training(_EPOCHS))
        alone = train(spec, own / "1").values()
        two_threads = spec.model_copy(update={"resources": spec.resources.model_copy(update={"cpus": 2})})
        # In a process of its own: this one may not start threads before it forks.
        again = on_ranks(1, train, two_threads, own / "control")[0].values()
        yield _row(case, "one process, two threads", alone, again)
        for size in sizes:
            together = on_ranks(size, train, spec, own / str(size))[0].values()
            yield _row(case, f"{size} ranks", alone, together)


def _row(case: Case, who: str, alone: Sequence[float], found: Sequence[float]) -> Row:
    differences = [abs(a - b) / abs(a) for a, b in zip(alone, found, strict=True)]
    equal = next((step for step, each in enumerate(differences) if each > _TOLERANCE), len(differences))
    return Row(case, who, alone[0], alone[-1], max(differences), equal)


def table(found: Sequence[Row]) -> str:
    lines = [
        "# Several ranks against one process",
        "",
        f"{_EPOCHS * _IMAGES // 4} steps with a global batch of 4 images of 64 px, of which two thirds have no box;",
        "on the CPU, one thread a rank, all on one machine. `python -m benchmarks.ranks`",
        "",
        "Each row is compared with one process of one thread. In float64 all curves are equal, also those of two-stage",
        "detectors that draw 32 of their proposals: the ranks compute what one process computes. In float32 two-stage",
        "detectors part after some steps, because they choose proposals by comparing scores and overlaps: as soon as",
        "rounding turns one comparison, other regions train. The curves of one process with one and with two threads",
        "part in the same way. Initial weights are drawn as other numbers in float64 than in float32.",
        "",
        "| numbers | detector | method | compared | first loss | last loss | largest relative difference "
        "| steps within 1e-5 |",
        "|---|---|---|---|---|---|---|---|",
        *(
            f"| {' | '.join(row.case)} | {row.who} | {row.first_loss:.4f} | {row.last_loss:.4f} "
            f"| {row.largest_difference:.1e} | {row.equal_steps} |"
            for row in found
        ),
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--numbers", choices=CASES, nargs="+", default=[*CASES])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    console, found = Console(), []
    with tempfile.TemporaryDirectory() as folder:
        for row in rows([case for each in options.numbers for case in CASES[each]], options.sizes, Path(folder)):
            console.print(row)
            found.append(row)
            (options.out / "ranks.md").write_text(table(found))


if __name__ == "__main__":
    main()
