"""Compares the common parts of distillation methods with the maps that they must move, and with plain PyTorch.

    python -m benchmarks.method_passes [--threads 1 2] [--rounds 7] [--out benchmarks/results]

The maps are those of `benchmarks.fgd_loss`: five levels of an 800x1333 pyramid with 256 channels, two images. Each part
runs forward and backward: as a run does it, with PyTorch's operations as where no C compiler is, and as plain PyTorch.
The floor counts the maps that must be read or written at least once in each direction. A map moves in a third of the
time in which a pass reads two sets of maps and writes a third. All of them write to memory that the process had
before, as a run does. The table also shows what a map costs that is only read, or copied: floors of reads and of writes
are the same. `benchmarks.fgd_loss` shows FGD, which has the context. Run it on an idle machine; ratios of CPU time hold
on a busy one as well.
"""

import argparse
import json
import statistics
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from rich.console import Console
from torch import Tensor

from benchmarks.fgd_loss import OPERATIONS, Cost, drawn, measured, operations_only
from fgd_core.methods.parts.attention import attention
from fgd_core.methods.parts.statistics import standardised_gap, with_statistics_of
from fgd_core.training.freed_memory import keep_freed_memory

TEMPERATURE = 0.5


class Part(NamedTuple):
    """Describes a common part of methods: two ways to compute a tensor from a student's and a teacher's map.

    The gradient of a result () is 1, and that of a map (N, C, H, W) is the teacher's map: one that lies in memory.
    """

    ours: Callable[[Tensor, Tensor], Tensor]
    plain: Callable[[Tensor, Tensor], Tensor]
    floor: int
    """Maps that must move."""


def _attention(student: Tensor, _: Tensor) -> Tensor:
    spatial, channel = attention(student, TEMPERATURE)
    return spatial.square().sum() + channel.square().sum()


def _plain_attention(student: Tensor, _: Tensor) -> Tensor:
    magnitude = student.abs()
    spatial = (magnitude.mean(1).flatten(1) / TEMPERATURE).softmax(1) * student.shape[2:].numel()
    channel = (magnitude.mean((2, 3)) / TEMPERATURE).softmax(1) * student.shape[1]
    return spatial.square().sum() + channel.square().sum()


def _standard(features: Tensor) -> Tensor:
    """Standardise the channels of a map (N, C, H, W)."""
    deviation, mean = torch.std_mean(features, (0, 2, 3), keepdim=True)
    return (features - mean) / (deviation + 1e-6)


def _plain_gap(student: Tensor, teacher: Tensor) -> Tensor:
    return (_standard(student) - _standard(teacher)).square().mean()


def _aligned(student: Tensor, teacher: Tensor) -> Tensor:
    return with_statistics_of(teacher, student)


def _plain_aligned(student: Tensor, teacher: Tensor) -> Tensor:
    deviation, mean = torch.std_mean(teacher, (0, 2, 3), keepdim=True)
    return _standard(student) * deviation + mean


PARTS: Mapping[str, Part] = {
    # Reads the student, then reads it again and writes the gradient.
    "attention": Part(_attention, _plain_attention, 3),
    # Reads both, then reads both again and writes the gradient.
    "gap of standardised maps (pkd)": Part(standardised_gap, _plain_gap, 5),
    # Reads both, the student twice, and writes the aligned map; then reads its gradient and the student twice, and
    # writes the student's gradient.
    "aligned statistics (crosskd)": Part(_aligned, _plain_aligned, 9),
}

MOVED = {"pass": 3, "reading": 1, "copying": 2}
"""Maps that the plainest passes move."""


def run(compute: Callable[[Tensor, Tensor], Tensor], students: list[Tensor], teachers: list[Tensor]) -> None:
    """Compute a part of all levels, and its gradients."""
    for student, teacher in zip(students, teachers, strict=True):
        student.grad = None
        result = compute(student, teacher)
        result.backward(teacher if result.ndim else None)  # type: ignore[no-untyped-call]


def compared(rounds: int) -> dict[str, Cost]:
    """Return the medians of all parts, ours and plain, and of one pass, in turn."""
    inputs = drawn(2, torch.float32, torch.device("cpu"))
    students, teachers = [*inputs.students], [*inputs.teachers]
    detached = [each.detach() for each in students]
    results = [torch.empty_like(each) for each in detached]

    def one_pass() -> None:
        for student, teacher, result in zip(detached, teachers, results, strict=True):
            torch.sub(student, teacher, out=result)

    def reading() -> None:
        for student in detached:
            student.sum()

    def copying() -> None:
        for student, result in zip(detached, results, strict=True):
            result.copy_(student)

    calls: dict[str, Callable[[], object]] = {"pass": one_pass, "reading": reading, "copying": copying}
    for name, part in PARTS.items():
        calls[name] = partial(run, part.ours, students, teachers)
        calls[f"{name}, {OPERATIONS}"] = operations_only()(calls[name])
        calls[f"{name}, plain"] = partial(run, part.plain, students, teachers)
    costs: dict[str, list[Cost]] = {name: [] for name in calls}
    for _ in range(rounds + 1):
        for name, call in calls.items():
            costs[name].append(measured(call, torch.device("cpu")))
    return {
        name: Cost(*(statistics.median(each) for each in zip(*found[1:], strict=True))) for name, found in costs.items()
    }


def table(found: Mapping[int, Mapping[str, Cost]], rounds: int) -> str:
    """Return the medians, and their ratios to the floor, as Markdown."""
    lines = [
        f"Common parts of methods, forward and backward; five levels of 800x1333, 256 channels, batch 2; PyTorch "
        f"{torch.__version__}. Medians of {rounds} rounds; wall time / CPU time. A map moves in a third of a pass,",
        "which reads two sets of maps and writes a third to memory that the process had before.",
        "",
        "| threads | part | maps moved | ms | times the floor |",
        "|---|---|---|---|---|",
    ]
    for threads, costs in found.items():
        unit = Cost(*(each / 3 for each in costs["pass"]))
        for name, cost in costs.items():
            moved = MOVED.get(name) or PARTS[name.split(", ")[0]].floor
            lines.append(f"| {threads} | {name} | {moved} | {_cells(cost, unit, moved)} |")
    return "\n".join([*lines, ""])


def _cells(cost: Cost, unit: Cost, moved: int) -> str:
    times = " / ".join(f"{own / (one * moved):.1f}" for own, one in zip(cost, unit, strict=True))
    return f"{1e3 * cost.wall_s:.0f} / {1e3 * cost.cpu_s:.0f} | {times}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    keep_freed_memory()  # as a run does
    found: dict[int, dict[str, Cost]] = {}
    for threads in options.threads:
        torch.set_num_threads(threads)
        found[threads] = compared(options.rounds)
    page = table(found, options.rounds)
    costs = {threads: {name: cost._asdict() for name, cost in row.items()} for threads, row in found.items()}
    options.out.mkdir(parents=True, exist_ok=True)
    result = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "torch": torch.__version__, "threads": costs}
    (options.out / "method_passes.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.out / "method_passes.md").write_text(page)
    Console().print(page, markup=False)


if __name__ == "__main__":
    main()
