"""Compares the FGD loss with a plain one that is written as its authors wrote theirs, forward and backward.

    python -m benchmarks.fgd_loss [--threads 1 2] [--rounds 7] [--out benchmarks/results]
    python -m benchmarks.fgd_loss --device cuda --batch 16 --type bfloat16

Five levels of an 800x1333 pyramid with 256 channels, two images with 20 boxes each. In each round every loss runs once,
in turn; the ratios are medians over the rounds. `pass` reads two sets of maps and writes a third. The reference makes
its masks box by box and weighs the maps by roots of masks and attention before it subtracts them. `eager` is our loss
with one operation after another; for `no compiler` PyTorch's operations do the passes, as without a C compiler. Memory
that was freed stays in the process, as in a run. Run it on an idle machine; ratios of CPU time hold on a busy one too.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import torch
from rich.console import Console
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from fgd_core.methods.fgd import ContextBlock, EagerFGDLoss, FGDLoss
from fgd_core.methods.parts import cpu_passes, map_passes, map_sums
from fgd_core.methods.parts.scale_masks import scale_masks
from fgd_core.training.freed_memory import keep_freed_memory

INPUT_SIZE = (800, 1333)
GRIDS = ((100, 167), (50, 84), (25, 42), (13, 21), (7, 11))
CHANNELS, NUM_BOXES = 256, 20
ALPHA, BETA, GAMMA, LAMBDA, TEMPERATURE = 1e-3, 5e-4, 5e-4, 5e-6, 0.5
FLOOR = 7
"""Maps that must move: twice both maps for the sums, and once more to write the gradient."""

OPERATIONS = "ours, no compiler"


class Inputs(NamedTuple):
    """Holds the maps of two networks, fine to coarse, each (N, C, H, W), and the boxes of each image, (n, 4) in px."""

    students: Sequence[Tensor]
    teachers: Sequence[Tensor]
    boxes: Sequence[Tensor]

    @property
    def sizes(self) -> list[tuple[int, int]]:
        return [INPUT_SIZE] * len(self.boxes)


class Cost(NamedTuple):
    """Holds what one call took."""

    wall_s: float
    cpu_s: float


Loss = Callable[[Inputs], Tensor]


class Reference(nn.Module):
    """Computes the loss of one level with the operations of the authors' code (arXiv:2111.11837), in our words."""

    def __init__(self) -> None:
        super().__init__()
        self.student_context, self.teacher_context = ContextBlock(CHANNELS), ContextBlock(CHANNELS)

    def forward(self, student: Tensor, teacher: Tensor, boxes: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Compute the weighted sum of the terms of two maps (N, C, H, W): ()."""
        spatial_s, channel_s = self._attention(student)
        spatial_t, channel_t = self._attention(teacher)
        foreground, background = self._masks(student, boxes, size)
        focal = []
        for mask in (foreground, background):
            ours, theirs = (self._weighed(each, mask, spatial_t, channel_t) for each in (student, teacher))
            focal.append(mse_loss(ours, theirs, reduction="sum"))
        gaps = (channel_s - channel_t).abs().sum() + (spatial_s - spatial_t).abs().sum()
        relation = mse_loss(self.student_context(student), self.teacher_context(teacher), reduction="sum")
        total: Tensor = ALPHA * focal[0] + BETA * focal[1] + GAMMA * gaps + LAMBDA * relation
        return total / len(student)

    @staticmethod
    def _attention(features: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the spatial (N, H, W) and the channel (N, C) attention of a map (N, C, H, W)."""
        num_images, channels, height, width = features.shape
        magnitude = features.abs()
        spatial = (magnitude.mean(1) / TEMPERATURE).view(num_images, -1).softmax(1) * height * width
        by_channel = magnitude.mean(2).mean(2)
        return spatial.view(num_images, height, width), (by_channel / TEMPERATURE).softmax(1) * channels

    @staticmethod
    def _masks(features: Tensor, boxes: Sequence[Tensor], size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Weigh the cells of a map (N, C, H, W), box by box: foreground and background (N, H, W)."""
        height, width = features.shape[2:]
        foreground = features.new_zeros(len(features), height, width)
        background = torch.ones_like(foreground)
        for image, rows in enumerate(boxes):
            scaled = rows / rows.new_tensor([size[1], size[0]] * 2) * rows.new_tensor([width, height] * 2)
            low, high = scaled[:, :2].floor().int(), scaled[:, 2:].ceil().int()
            for (left, top), (right, bottom) in zip(low, high, strict=True):
                area = 1 / (right + 1 - left) / (bottom + 1 - top)
                covered = foreground[image, top : bottom + 1, left : right + 1]
                foreground[image, top : bottom + 1, left : right + 1] = torch.maximum(covered, area)
            background[image] = torch.where(foreground[image] > 0, 0.0, 1.0)
            if background[image].sum():
                background[image] /= background[image].sum()
        return foreground, background

    @staticmethod
    def _weighed(features: Tensor, mask: Tensor, spatial: Tensor, channel: Tensor) -> Tensor:
        """Multiply a map (N, C, H, W) by the roots of a mask (N, H, W) and of the teacher's attention."""
        attended = features * spatial.sqrt()[:, None] * channel.sqrt()[:, :, None, None]
        return attended * mask.sqrt()[:, None]


def reference(device: torch.device) -> Loss:
    """Return the loss of all levels as the authors' code computes it."""
    levels = nn.ModuleList(Reference() for _ in GRIDS).to(device)

    def run(inputs: Inputs) -> Tensor:
        pairs = zip(levels, inputs.students, inputs.teachers, strict=True)
        return torch.stack([level(s.float(), t.float(), inputs.boxes, INPUT_SIZE) for level, s, t in pairs]).sum()

    return run


def ours(kind: type[FGDLoss], device: torch.device, *, compiles: bool = False) -> Loss:
    """Return our loss of all levels."""
    build = partial(kind, CHANNELS, CHANNELS, alpha=ALPHA, beta=BETA, gamma=GAMMA, lambda_=LAMBDA)
    levels = [build(temperature=TEMPERATURE).to(device) for _ in GRIDS]
    for level in levels if compiles else ():
        level.compile_sums()

    def run(inputs: Inputs) -> Tensor:
        masks = scale_masks(inputs.boxes, [INPUT_SIZE], inputs.students)
        parts = zip(levels, inputs.students, inputs.teachers, masks, strict=True)
        return torch.stack([level.weighed(s, t, mask, INPUT_SIZE).total for level, s, t, mask in parts]).sum()

    return run


def drawn(num_images: int, kind: torch.dtype, device: torch.device) -> Inputs:
    """Draw maps of normal values and boxes anywhere in the images."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(num_images, CHANNELS, *grid) for grid in GRIDS]
    maps = [[torch.randn(shape, generator=generator).to(device, kind) for shape in shapes] for _ in range(2)]
    extent = torch.tensor([INPUT_SIZE[1], INPUT_SIZE[0]])
    first = torch.rand(num_images, NUM_BOXES, 2, generator=generator) * 0.8
    last = first + torch.rand(first.shape, generator=generator) * (1 - first)
    boxes = torch.cat([first * extent, last * extent], 2).to(device)
    return Inputs([each.requires_grad_() for each in maps[0]], maps[1], list(boxes))


def measured(call: Callable[[], object], device: torch.device) -> Cost:
    """Run something once and return what it took; an accelerator finishes before the clock stops."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    began_s, cpu_s = time.perf_counter(), time.process_time()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return Cost(time.perf_counter() - began_s, time.process_time() - cpu_s)


def backward(loss: Loss, inputs: Inputs) -> None:
    """Compute a loss and its gradients."""
    for each in inputs.students:
        each.grad = None
    loss(inputs).backward()  # type: ignore[no-untyped-call]


@contextmanager
def operations_only() -> Iterator[None]:
    """Let PyTorch's operations do the passes over the maps, as without a C compiler or Triton."""
    with (
        patch.object(map_sums, "passes_for", lambda *_: map_passes),
        patch.object(cpu_passes, "fit", lambda *_: False),
    ):
        yield


def compared(losses: Mapping[str, Loss], inputs: Inputs, rounds: int, device: torch.device) -> dict[str, Cost]:
    """Return the medians of all losses and of one pass, in turn."""
    detached = [each.detach() for each in inputs.students]

    def one_pass() -> list[Tensor]:
        return [student - teacher for student, teacher in zip(detached, inputs.teachers, strict=True)]

    costs: dict[str, list[Cost]] = {name: [] for name in (*losses, "pass")}
    for _ in range(rounds + 1):
        for name, loss in losses.items():
            with operations_only() if name == OPERATIONS else nullcontext():
                costs[name].append(measured(partial(backward, loss, inputs), device))
        costs["pass"].append(measured(one_pass, device))
    return {
        name: Cost(*(statistics.median(each) for each in zip(*found[1:], strict=True))) for name, found in costs.items()
    }


def agree(losses: Mapping[str, Loss], inputs: Inputs) -> None:
    """Check that all losses have one value."""
    values = {name: float(loss(inputs).detach()) for name, loss in losses.items()}
    assert max(values.values()) - min(values.values()) < 1e-4 * max(values.values()), values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--type", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    device = torch.device(options.device)
    inputs = drawn(options.batch, getattr(torch, options.type), device)
    losses = {"reference": reference(device), "eager": ours(EagerFGDLoss, device), "ours": ours(FGDLoss, device)}
    if device.type == "cpu":
        keep_freed_memory()  # as a run does
        losses[OPERATIONS] = losses["ours"]
    agree(losses, inputs)
    found = {}
    for threads in options.threads if device.type == "cpu" else [1]:
        torch.set_num_threads(threads)
        found[str(threads)] = compared(losses, inputs, options.rounds, device)
    table = _markdown(found, options)
    options.out.mkdir(parents=True, exist_ok=True)
    name = f"fgd_loss_{device.type}_{options.type}_{options.batch}"
    costs = {threads: {each: cost._asdict() for each, cost in row.items()} for threads, row in found.items()}
    result = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "machine": _machine(device), "threads": costs}
    (options.out / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.out / f"{name}.md").write_text(table)
    Console().print(table, markup=False)


def _machine(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}, PyTorch {torch.__version__}"


def _markdown(found: Mapping[str, Mapping[str, Cost]], options: argparse.Namespace) -> str:
    lines = [
        f"FGD's loss forward and backward: five levels of 800x1333, {CHANNELS} channels, batch {options.batch}, ",
        f"{NUM_BOXES} boxes an image, {options.type}; {_machine(torch.device(options.device))}. Medians of "
        f"{options.rounds} rounds. A pass reads two sets of maps and writes a third; {FLOOR} / 3 passes must move.",
        "",
        "| threads | loss | ms | CPU ms | faster than the reference | by CPU time | passes | by CPU time |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for threads, costs in found.items():
        lines += [_row(threads, name, cost, costs["reference"], costs["pass"]) for name, cost in costs.items()]
    return "\n".join(lines) + "\n"


def _row(threads: str, name: str, cost: Cost, first: Cost, unit: Cost) -> str:
    faster = f"{first.wall_s / cost.wall_s:.1f} | {first.cpu_s / cost.cpu_s:.1f}"
    passes = f"{cost.wall_s / unit.wall_s:.1f} | {cost.cpu_s / unit.cpu_s:.1f}"
    return f"| {threads} | {name} | {1e3 * cost.wall_s:.1f} | {1e3 * cost.cpu_s:.1f} | {faster} | {passes} |"


if __name__ == "__main__":
    main()
