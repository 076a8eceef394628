"""Measures on a GPU what no CPU can show: the FGD loss, waits of the host, and images per second.

    python -m benchmarks.on_gpu [--parts loss waits speed] [--out benchmarks/results]
    python -m benchmarks.on_gpu --parts training --data FOLDER [--seeds 3] [--epochs 12]
    python -m benchmarks.on_gpu --device cpu --small

The first three parts together take about six minutes on an H200:

    loss     the FGD loss of 16 images forward and backward, in float32 and bfloat16, with one operation after another,
             as a run computes it (Triton's kernels), without these kernels, and compiled; against the time to move the
             bytes that must move
    waits    how often the host waits for the device in a step that distils, and where
    speed    images/s of RetinaNet ResNet-50 at 800x800 in bfloat16, 32 images a step, alone and with FGD from a
             ResNet-101, not compiled, compiled, and with the student's maps also as CUDA graphs, which no run uses yet;
             the images are in memory as uint8

`training` runs whole trainings: float16 and bfloat16, compiled or not, with and without FGD, from random weights on a
data set in COCO format (images/, annotations_train.json and annotations_val.json), and shows images/s and AP by seed.
`--small` shrinks all of it, to test the script itself.
"""

import argparse
import itertools
import json
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from rich.console import Console

from benchmarks import fgd_loss
from benchmarks.step import batch_of, detector, drawn
from fgd_core.data.loading import Batch
from fgd_core.methods.base import Moment
from fgd_core.methods.fgd import EagerFGDLoss, FGDLoss
from fgd_core.runs import execute
from fgd_core.spec.events import EpochFinished, RunEvent
from fgd_core.spec.kinds.distill import DistillSpec
from fgd_core.spec.kinds.train import TrainSpec
from fgd_core.spec.methods import Fgd
from fgd_core.spec.training import Sgd, TrainingSpec
from fgd_core.training import optimisation
from fgd_core.training.distiller import Distiller
from fgd_core.training.late_values import LateReader, LateValues
from fgd_core.training.machine import Machine
from fgd_core.training.optimisation import Optimisation
from fgd_core.training.transfer import Transfer

PARTS = ("loss", "waits", "speed", "training")
COMPILED = ("no", "yes", "graphs")
REFERENCE_IMAGES_PER_S = 308
"""MLPerf Training v5.1: RetinaNet with a ResNeXt-50 at 800x800 on one of eight H200."""
_RATE = 1e-3


class Scale(NamedTuple):
    """Holds the sizes of the measurements."""

    loss_images: int
    step_images: int
    px: int
    student: str
    teacher: str
    steps: int
    """Steps that are measured; a third as many run before."""
    rounds: int


FULL = Scale(16, 32, 800, "resnet50", "resnet101", 30, 20)
SMALL = Scale(1, 2, 64, "resnet18", "resnet18", 3, 2)


# -- the loss ------------------------------------------------------------------------------------------------------


def loss_lines(scale: Scale, device: torch.device) -> Iterator[str]:
    """Measure the FGD loss; yield lines of a table."""
    yield "| type | loss | ms | of the time to move the bytes |"
    yield "|---|---|---|---|"
    for kind in (torch.float32, torch.bfloat16):
        inputs = fgd_loss.drawn(scale.loss_images, kind, device)
        floor_s = seconds_to_move(fgd_loss.FLOOR, inputs, scale.rounds, device)
        yield f"| {kind} | {fgd_loss.FLOOR} maps moved | {1e3 * floor_s:.2f} | 1 |"
        losses = {"eager": fgd_loss.ours(EagerFGDLoss, device), "ours": fgd_loss.ours(FGDLoss, device)}
        if device.type == "cuda":
            losses["ours, no kernels"] = losses["ours"]
            losses["ours, compiled"] = fgd_loss.ours(FGDLoss, device, compiles=True)
        for name, loss in losses.items():
            with fgd_loss.operations_only() if name == "ours, no kernels" else nullcontext():
                cost_s = median_s(partial(fgd_loss.backward, loss, inputs), scale.rounds, device)
            yield f"| {kind} | {name} | {1e3 * cost_s:.2f} | {cost_s / floor_s:.2f} |"


def seconds_to_move(num_maps: int, inputs: fgd_loss.Inputs, rounds: int, device: torch.device) -> float:
    """Return the seconds in which the device reads or writes so many sets of maps."""
    students = [each.detach() for each in inputs.students]
    results = [torch.empty_like(each) for each in students]

    def one_pass() -> None:
        for student, teacher, result in zip(students, inputs.teachers, results, strict=True):
            torch.sub(student, teacher, out=result)

    return median_s(one_pass, rounds, device) * num_maps / 3


def median_s(call: Callable[[], object], rounds: int, device: torch.device) -> float:
    """Return the median seconds of a call; the first three calls, in which a compiler may run, do not count."""
    return statistics.median([fgd_loss.measured(call, device).wall_s for _ in range(rounds + 3)][3:])


# -- steps ---------------------------------------------------------------------------------------------------------


class Training:
    """Takes steps as a run does: images go to the device beside the step before, and values are read a step late.

    Args:
        teacher: the name of its backbone; None trains without distillation.
    """

    def __init__(self, scale: Scale, device: torch.device, *, teacher: str | None, compiles: bool) -> None:
        machine = Machine(device, torch.bfloat16)
        student = machine.placed(detector(scale.student)).train()
        distiller = None
        if teacher is not None:
            distiller = Distiller(Fgd(), student, machine.placed(detector(teacher)).eval()).to(device)
        settings = TrainingSpec(optimizer=Sgd(learning_rate=_RATE), compile=compiles)
        self._optimisation = Optimisation(student, distiller, settings, machine)
        self._transfer, self._late = Transfer(device), LateReader(machine.values_behind)
        self._batch: Batch = batch_of(drawn(scale.step_images, scale.px))

    def run(self, steps: int) -> None:
        """Take steps, and wait until the last one has ended."""
        for number in range(steps):
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
            values = self._optimisation.step(self._transfer(self._batch), Moment(number, 1000, 1), _RATE)
            self._late.add(LateValues(number, values, learning_rate=_RATE, waited_s=0))
            for step in self._late.due():
                step.read()
        for step in self._late.rest():
            step.read()


def waits_lines(scale: Scale, device: torch.device) -> Iterator[str]:
    """Count how often the host waits in a step; yield lines of a table."""
    training = Training(scale, device, teacher=scale.teacher, compiles=False)
    training.run(2)
    yield "| waits a step | place |"
    yield "|---|---|"
    found = waits(partial(training.run, scale.steps), device)
    for place, number in sorted(found.items()):
        yield f"| {number / scale.steps:.2f} | {place} |"
    yield f"| {sum(found.values()) / scale.steps:.2f} | all |"


def waits(call: Callable[[], object], device: torch.device) -> Mapping[str, int]:
    """Count the operations of a call for which PyTorch waits, by place; on a CPU there are none.

    The event that `LateValues` reads is no such operation: the step that it belongs to has ended by then.
    """
    if device.type != "cuda":
        call()
        return {}
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            call()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    places = [f"{Path(each.filename).name}:{each.lineno}" for each in caught if "synchroniz" in str(each.message)]
    return {place: places.count(place) for place in set(places)}


def speed_lines(scale: Scale, device: torch.device) -> Iterator[str]:
    """Measure images per second; yield lines of a table."""
    yield f"| teacher | compiled | images/s | of {REFERENCE_IMAGES_PER_S} |"
    yield "|---|---|---|---|"
    for how, teacher in itertools.product(("no",) if device.type == "cpu" else COMPILED, (None, scale.teacher)):
        with compiled_as_graphs() if how == "graphs" else nullcontext():
            training = Training(scale, device, teacher=teacher, compiles=how != "no")
        training.run(max(2, scale.steps // 3))
        began_s = time.perf_counter()
        training.run(scale.steps)
        rate = scale.steps * scale.step_images / (time.perf_counter() - began_s)
        yield f"| {teacher or 'none'} | {how} | {rate:.1f} | {rate / REFERENCE_IMAGES_PER_S:.2f} |"


@contextmanager
def compiled_as_graphs() -> Iterator[None]:
    """Let a training record the compiled maps of its student as CUDA graphs."""
    chosen = vars(optimisation)["compiled"]
    vars(optimisation)["compiled"] = partial(torch.compile, mode="reduce-overhead")
    try:
        yield
    finally:
        vars(optimisation)["compiled"] = chosen


# -- trainings -----------------------------------------------------------------------------------------------------


@dataclass
class _Context:
    """A `RunContext` that keeps the rates of the epochs."""

    job_dir: Path
    rates: list[float] = field(default_factory=list)

    def emit(self, event: RunEvent) -> None:
        if isinstance(event, EpochFinished):
            self.rates.append(event.images_per_s)

    def should_stop(self) -> bool:
        return False

    def resolve_checkpoint(self, source: str) -> Path:
        return Path(source)


class Variant(NamedTuple):
    """One kind of training."""

    precision: str
    compiles: bool
    distils: bool


class Trained(NamedTuple):
    """What a training reached."""

    ap: float
    images_per_s: float
    """The median of all epochs but the first one"""


def training_lines(options: argparse.Namespace) -> Iterator[str]:
    """Run trainings on a data set; yield lines of a table."""
    precisions = ("bfloat16",) if options.device == "cpu" else ("float16", "bfloat16")
    variants = [Variant(*each) for each in itertools.product(precisions, (False, True), (False, True))]
    yield "| precision | compiled | FGD | AP by seed | mean AP | images/s |"
    yield "|---|---|---|---|---|---|"
    with tempfile.TemporaryDirectory() as folder:
        teacher = Path(folder) / "teacher"
        trained(_spec(options, Variant(precisions[-1], compiles=False, distils=False), 0, teacher=None), teacher)
        for number, variant in enumerate(variants):
            if variant.compiles and options.small:
                continue
            found = [
                trained(_spec(options, variant, seed, teacher=teacher / "checkpoints" / "best.pt"), Path(folder, name))
                for seed, name in ((seed, f"{number} {seed}") for seed in range(options.seeds))
            ]
            aps, rate = [each.ap for each in found], statistics.median(each.images_per_s for each in found)
            shown = f"{', '.join(f'{ap:.3f}' for ap in aps)} | {statistics.mean(aps):.3f} | {rate:.1f}"
            yield f"| {variant.precision} | {variant.compiles} | {variant.distils} | {shown} |"


def trained(spec: TrainSpec | DistillSpec, folder: Path) -> Trained:
    """Run a training in a folder."""
    folder.mkdir(parents=True)
    context = _Context(folder)
    finished = execute(spec, context)
    if finished.result is None:
        raise SystemExit(f"{spec.name}: {finished.error}")
    return Trained(finished.result.scores.ap or 0.0, statistics.median(context.rates[1:]))


def _spec(options: argparse.Namespace, variant: Variant, seed: int, *, teacher: Path | None) -> TrainSpec | DistillSpec:
    """Return a training; without a teacher, that of the teacher."""
    size = {"shorter_px": 64, "longer_px": 96} if options.small else {"shorter_px": 480, "longer_px": 640}
    split = {
        name: {"images": str(options.data / "images"), "annotations": str(options.data / f"annotations_{name}.json")}
        for name in ("train", "val")
    }
    name = ("resnet18" if options.small else "resnet50") if teacher is None else "resnet18"
    network = {
        "type": "retinanet",
        "backbone": {"name": name},
        "fpn_width": 64 if options.small else 256,
        "head_norm": "group",
    }
    common = {
        "name": "-".join(map(str, (*variant, seed))),
        "data": {"type": "coco", "on_bad": "drop", **split},
        "input": size,
        "training": {
            "epochs": options.epochs,
            "batch_size": 2 if options.small else 16,
            "optimizer": {"type": "adamw", "learning_rate": 1e-3},
            "evaluate_every": options.epochs,
            "precision": variant.precision,
            "compile": variant.compiles,
            "loader_workers": 0 if options.small else 6,
        },
        "resources": {"cpus": 1 if options.small else 8, "gpus": int(options.device == "cuda")},
        "seed": seed,
    }
    if teacher is None or not variant.distils:
        return TrainSpec.model_validate({**common, "detector": network})
    taught = {"checkpoint": str(teacher), "gate": "keys"}
    return DistillSpec.model_validate({**common, "student": network, "teacher": taught, "method": {"type": "fgd"}})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS[:3])
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--small", action="store_true", help="shrink everything, to test this script")
    parser.add_argument("--data", type=Path, help="folder of a data set in COCO format, for `training`")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=12, help="of each training, at least 2")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    if "training" in options.parts and options.data is None:
        parser.error("--parts training needs --data FOLDER")
    device, scale = torch.device(options.device), SMALL if options.small else FULL
    parts: Mapping[str, Callable[[], Iterator[str]]] = {
        "loss": partial(loss_lines, scale, device),
        "waits": partial(waits_lines, scale, device),
        "speed": partial(speed_lines, scale, device),
        "training": partial(training_lines, options),
    }
    machine = torch.cuda.get_device_name(device) if options.device == "cuda" else "a CPU"
    page = [f"# On {machine}", "", f"PyTorch {torch.__version__}, {datetime.now(UTC):%Y-%m-%d}; {scale}"]
    options.out.mkdir(parents=True, exist_ok=True)
    found: dict[str, object] = {"machine": machine}
    for name in options.parts:
        began_s = time.perf_counter()
        lines = list(parts[name]())
        seconds = time.perf_counter() - began_s
        page += ["", f"## {name} ({seconds:.0f} s)", "", *lines]
        found[name] = {"seconds": seconds, "rows": [_cells(line) for line in lines if not line.startswith("|-")]}
        # After each part: a machine that is lent for minutes may be gone before the last part.
        (options.out / "on_gpu.md").write_text("\n".join([*page, ""]))
        (options.out / "on_gpu.json").write_text(json.dumps(found, indent=1) + "\n")
        Console().print("\n".join(page[-len(lines) - 3 :]), markup=False)


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


if __name__ == "__main__":
    main()
