"""Compares a step that distils with its parts, and a plain step with torchvision's model in a plain loop.

    python -m benchmarks.step [--threads 1 2] [--rounds 9] [--px 320] [--batch 4] [--out benchmarks/results]

The student is a RetinaNet with a ResNet-18, the teacher one with a ResNet-50, both with a pyramid of 256 channels and
80 classes; the method is FGD. All images are in memory as uint8. In each round every kind of step runs once:

    distilled    a step of ours: forward and backward passes with FGD, and the update of the weights
    plain        the same without a teacher
    teacher      the teacher's forward pass alone, as the distilled step runs it
    torchvision  a step of torchvision's RetinaNet, the same network, in the loop of torchvision's references

`distilled` should cost no more than `plain` and `teacher` together, and `plain` no more than `torchvision`. The order
of a round changes from round to round; ratios are medians of the ratios of the rounds. Run it on an idle machine;
ratios of CPU time hold on a busy one as well.
"""

import argparse
import json
import math
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from rich.console import Console
from torch import Tensor, nn
from torchvision.models.detection import RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.resnet import resnet18
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from fgd_core.data.loading import Batch
from fgd_core.detectors import build_detector
from fgd_core.detectors.base import Detector
from fgd_core.methods.base import Moment
from fgd_core.spec.backbones import ResNet
from fgd_core.spec.detectors import RetinaNet as RetinaNetSpec
from fgd_core.spec.methods import Fgd
from fgd_core.spec.training import Sgd, TrainingSpec
from fgd_core.training.distiller import Distiller
from fgd_core.training.machine import Machine
from fgd_core.training.optimisation import Optimisation
from fgd_core.training.teacher_maps import OwnTeacher

NUM_CLASSES, NUM_BOXES, RATE = 80, 7, 1e-3
KINDS = ("distilled", "plain", "teacher", "torchvision")


class Images(NamedTuple):
    """Holds the images of a batch and their objects."""

    pixels: Tensor
    """(N, 3, H, W) uint8"""
    boxes: Sequence[Tensor]
    """For each image (n, 4) float32 xyxy in pixels"""
    labels: Sequence[Tensor]
    """For each image (n,) int64"""


class Cost(NamedTuple):
    """Holds what one step took."""

    wall_s: float
    cpu_s: float


Step = Callable[[], object]


def drawn(num_images: int, size_px: int) -> Images:
    """Draw images of noise with boxes anywhere."""
    generator = torch.Generator().manual_seed(0)
    draw = partial(torch.rand, generator=generator)
    first = draw(num_images, NUM_BOXES, 2) * 0.7
    last = first + 0.1 + draw(num_images, NUM_BOXES, 2) * (0.9 - first)
    boxes = torch.cat([first, last], 2) * size_px
    pixels = torch.randint(0, 256, (num_images, 3, size_px, size_px), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, NUM_CLASSES, (num_images, NUM_BOXES), generator=generator)
    return Images(pixels, list(boxes), list(labels))


def reference(size_px: int) -> nn.Module:
    """Build torchvision's RetinaNet on a ResNet-18; it does not resize images that have the right size."""
    torch.manual_seed(0)
    backbone = BackboneWithFPN(
        resnet18(), {f"layer{stage}": str(stage) for stage in (2, 3, 4)}, [128, 256, 512], 256, LastLevelP6P7(256, 256)
    )
    sides = tuple((side, int(side * 2 ** (1 / 3)), int(side * 2 ** (2 / 3))) for side in (32, 64, 128, 256, 512))
    anchors = AnchorGenerator(sides, ((0.5, 1.0, 2.0),) * len(sides))
    limits = {"min_size": size_px, "max_size": size_px, "_skip_resize": True}
    model: nn.Module = RetinaNet(backbone, NUM_CLASSES, anchor_generator=anchors, **limits)
    return model.train()


def reference_step(model: nn.Module, images: Images) -> Step:
    """Return a step as in torchvision's `references/detection`: the losses are read before the backward pass."""
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=0.9, weight_decay=1e-4)

    def run() -> None:
        pixels = [image.float().div(255) for image in images.pixels]
        targets = [{"boxes": own, "labels": labels} for own, labels in zip(images.boxes, images.labels, strict=True)]
        loss = torch.stack([*model(pixels, targets).values()]).sum()
        if not math.isfinite(loss.item()):
            raise SystemExit("the reference's loss is not finite")
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return run


def detector(backbone: str) -> Detector:
    """Build our RetinaNet with the initial weights of a seed."""
    torch.manual_seed(1)
    settings = RetinaNetSpec.model_validate({"backbone": ResNet.model_validate({"name": backbone})})
    return build_detector(settings, NUM_CLASSES)


def batch_of(images: Images) -> Batch:
    """Return the images as the loader gives them."""
    sizes = [(images.pixels.shape[2], images.pixels.shape[3])] * len(images.pixels)
    ids = [*range(len(sizes))]
    return Batch(images.pixels, sizes, [*images.boxes], [*images.labels], ids, sizes, number=0)


def our_step(student: Detector, teacher: Detector | None, images: Images) -> Step:
    """Return a step of a training of ours, whose values are read as in a run."""
    settings = TrainingSpec(optimizer=Sgd(learning_rate=RATE, momentum=0.9, weight_decay=1e-4), clip_norm=None)
    distiller = None if teacher is None else Distiller(Fgd(), student, teacher)
    optimisation = Optimisation(student.train(), distiller, settings, Machine(torch.device("cpu"), None))
    batch = batch_of(images)

    def run() -> None:
        optimisation.step(batch.to("cpu"), Moment(0, 100, 1), RATE)

    return run


def steps(images: Images, size_px: int) -> dict[str, Step]:
    """Return one step of each kind, by name; students start from the same weights."""
    model, teacher = reference(size_px), detector("resnet50").eval()
    students = [detector("resnet18") for _ in range(2)]
    for student in students:
        student.load_state_dict(model.state_dict())
    batch, maps = batch_of(images).to("cpu"), OwnTeacher(teacher)
    return {
        "distilled": our_step(students[0], teacher, images),
        "plain": our_step(students[1], None, images),
        "teacher": lambda: maps.maps(batch),
        "torchvision": reference_step(model, images),
    }


def measured(step: Step) -> Cost:
    """Run a step once and return what it took."""
    began_s, cpu_s = time.perf_counter(), time.process_time()
    step()
    return Cost(time.perf_counter() - began_s, time.process_time() - cpu_s)


def compared(kinds: Mapping[str, Step], rounds: int) -> dict[str, list[Cost]]:
    """Return the costs of all kinds by round; each round starts with another kind, and the first does not count."""
    costs: dict[str, list[Cost]] = {name: [] for name in kinds}
    names = [*kinds]
    for number in range(rounds + 1):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            costs[name].append(measured(kinds[name]))
    return {name: own[1:] for name, own in costs.items()}


class Ratios(NamedTuple):
    """Holds medians over the rounds."""

    distilled: float
    """Of distilled over plain + teacher"""
    plain: float
    """Of plain over torchvision"""


def ratios(costs: Mapping[str, Sequence[float]]) -> Ratios:
    """Compute the ratios from the seconds of each kind by round."""
    rows = zip(*(costs[kind] for kind in KINDS), strict=True)
    found = [(distilled / (plain + teacher), plain / other) for distilled, plain, teacher, other in rows]
    return Ratios(*(statistics.median(each) for each in zip(*found, strict=True)))


def table(found: Mapping[int, Mapping[str, Sequence[Cost]]], options: argparse.Namespace) -> str:
    """Return the medians and ratios as Markdown."""
    lines = [
        f"A step of RetinaNet ResNet-18, and with FGD from a ResNet-50: {options.px} px, batch {options.batch}; "
        f"{_machine()}. Medians of {options.rounds} rounds, in ms; wall time / CPU time.",
        "",
        "| threads | distilled | plain | teacher | torchvision | distilled / (plain + teacher) | plain / torchvision |",
        "|---|---|---|---|---|---|---|",
    ]
    for threads, costs in found.items():
        clocks = [{kind: [each[clock] for each in own] for kind, own in costs.items()} for clock in range(2)]
        cells = [" / ".join(f"{1e3 * statistics.median(clock[kind]):.0f}" for clock in clocks) for kind in KINDS]
        cells += [" / ".join(f"{each:.3f}" for each in pair) for pair in zip(*map(ratios, clocks), strict=True)]
        lines.append(f"| {threads} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _machine() -> str:
    return f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}, PyTorch {torch.__version__}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--px", type=int, default=320, help="side of the images")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    found: dict[int, dict[str, list[Cost]]] = {}
    for threads in options.threads:
        torch.set_num_threads(threads)
        found[threads] = compared(steps(drawn(options.batch, options.px), options.px), options.rounds)
    page = table(found, options)
    costs = {threads: {kind: [[*each] for each in own] for kind, own in row.items()} for threads, row in found.items()}
    result = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "machine": _machine(), "threads": costs}
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "step.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.out / "step.md").write_text(page)
    Console().print(page, markup=False)


if __name__ == "__main__":
    main()
