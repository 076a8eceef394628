"""Measures what sharing one teacher among the trials of a sweep saves: the same trials with and without sharing.

    python -m benchmarks.shared_teacher [--trials 4] [--steps 32] [--gpu] [--out benchmarks/results]

A trial is a process that trains a ResNet-18 with a ResNet-101 as its teacher on `shapes`. Each trial has another
weight of the distillation loss; all trials take their first step at the same time. The weights are random: the
benchmark measures time, and checks that the trained weights are bit-identical. T is the CPU time of the teacher's
forward pass; S is that of the rest of a step with the distillation loss and the reading of the batch. Both are measured
without sharing. With `--gpu` the same students also train without a teacher.
"""

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import pairwise
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path
from statistics import mean
from typing import Any, Literal

import psutil
import torch
from rich.console import Console
from torch import Tensor, nn

from fgd_core.data import open_dataset
from fgd_core.data.loading import Batch, TrainLoader
from fgd_core.detectors import build_detector
from fgd_core.detectors.base import Detector
from fgd_core.detectors.weights.checkpoint import DetectorCheckpoint, Record, read_checkpoint, save_checkpoint
from fgd_core.runs import execute
from fgd_core.spec.events import EpochFinished, RunEvent
from fgd_core.spec.jobs import JOB_SPEC
from fgd_core.spec.kinds.distill import DistillSpec
from fgd_core.spec.kinds.train import TrainSpec
from fgd_core.training.teacher_maps import OwnTeacher, TeacherMaps, TeacherSharing
from workers.tuning.shared_teacher import SharedTeacher
from workers.tuning.teacher_batches import SharingStats
from workers.tuning.teacher_store import TeacherStore

Mode = Literal["alone", "shared", "plain"]
AIM = 1.1
SWEEP = "benchmark"


@dataclass(frozen=True)
class Trial:
    """Holds the times of one trial."""

    wall_s: tuple[float, float]
    """The beginning of the first step and the end of the last one, on the clock that all processes share."""
    cpu_s: float
    """CPU time of the steps."""
    teacher_cpu_s: float
    steps: int
    account: dict[str, float]


@dataclass(frozen=True)
class Run:
    """Holds the times and the peak memory of all trials of one mode."""

    wall_s: float
    cpu_s: float
    trials: list[Trial]
    peak_pss_bytes: int
    peak_store_bytes: int


class _Timed:
    """A `TeacherSharing` that measures the CPU time of maps, shared or not."""

    def __init__(self, sharing: TeacherSharing | None) -> None:
        self._sharing = sharing
        self.cpu_s = 0.0

    def ap(self, key: str, measure: Callable[[], float | None]) -> float | None:
        return measure()

    def maps(self, key: str, teacher: Detector, loader: TrainLoader) -> TeacherMaps:
        own = OwnTeacher(teacher)
        source = own if self._sharing is None else self._sharing.maps(key, own, loader)
        return _TimedMaps(source, self)


class _TimedMaps:
    def __init__(self, source: TeacherMaps, times: _Timed) -> None:
        self._source, self._times = source, times

    def maps(self, batch: Batch) -> Sequence[Tensor]:
        started_s = time.process_time()
        maps = self._source.maps(batch)
        self._times.cpu_s += time.process_time() - started_s
        return maps


class _Context:
    """A `RunContext` that measures the time of the steps."""

    def __init__(self, job_dir: Path, sharing: _Timed | None) -> None:
        self.job_dir, self.teacher_sharing = job_dir, sharing
        self.began: tuple[float, float, float] | None = None
        self.ended = (0.0, 0.0, 0.0)
        self.steps = 0

    def emit(self, event: RunEvent) -> None:
        if isinstance(event, EpochFinished):
            self.ended, self.steps = self._times(), event.step

    def should_stop(self) -> bool:
        if self.began is None:
            _START.wait()
            self.began = self._times()
        return False

    def resolve_checkpoint(self, source: str) -> Path:
        return Path(source)

    def _times(self) -> tuple[float, float, float]:
        return time.monotonic(), time.process_time(), self.teacher_sharing.cpu_s if self.teacher_sharing else 0.0


_START: Barrier


def _prepare(start: Barrier) -> None:
    global _START  # noqa: PLW0603 - a barrier can reach a worker process only through its initialiser
    _START = start


def _run_trial(spec: DistillSpec | TrainSpec, mode: Mode, folder: Path, index: int, max_bytes: int) -> Trial:
    shared = SharedTeacher(SWEEP, max_bytes).source_for(index, print) if mode == "shared" else None
    context = _Context(folder / f"{mode}-{index}", None if mode == "plain" else _Timed(shared))
    finished = execute(spec, context)
    if finished.error is not None:
        raise RuntimeError(finished.error.traceback)
    assert context.began is not None
    account = shared.stats if shared else SharingStats()
    if shared is not None:
        shared.close()
    (start_s, *before), (end_s, *after) = context.began, context.ended
    cpu_s, teacher_cpu_s = (b - a for a, b in zip(before, after, strict=True))
    return Trial((start_s, end_s), cpu_s, teacher_cpu_s, context.steps, asdict(account))


def run_all(specs: Sequence[DistillSpec | TrainSpec], mode: Mode, folder: Path, max_bytes: int) -> Run:
    """Run all trials at the same time, one process each."""
    spawn = get_context("spawn")
    store = TeacherStore(SWEEP, max_bytes)
    start = spawn.Barrier(len(specs))
    try:
        with ProcessPoolExecutor(len(specs), spawn, _prepare, (start,)) as pool:
            futures = [pool.submit(_run_trial, spec, mode, folder, i, max_bytes) for i, spec in enumerate(specs)]
            peaks = list(_watch(futures, store))
            trials = [future.result() for future in futures]
    finally:
        store.close()
        SharedTeacher(SWEEP).clear()
    pss, stored = (max(column) for column in zip(*peaks, strict=True))
    began, ended = zip(*(trial.wall_s for trial in trials), strict=True)
    return Run(max(ended) - min(began), sum(trial.cpu_s for trial in trials), trials, pss, stored)


def _watch(futures: Sequence[Future[Trial]], store: TeacherStore) -> Iterator[tuple[int, int]]:
    """Yield, each second, the memory of all trials (a shared page counts once) and of the store, in bytes."""
    me = psutil.Process()
    yield 0, 0
    while not all(future.done() for future in futures):
        pss = 0
        for child in me.children():
            try:
                pss += child.memory_full_info().pss
            except psutil.Error:
                continue
        yield pss, store.num_bytes()
        time.sleep(1)


def specs_for(options: argparse.Namespace, teacher: Path) -> list[DistillSpec]:
    """Return the specs of the trials, which differ in the weight of the distillation loss."""
    batch_size = options.batch_size
    size_px = options.size_px
    side = {"shorter_px": 800, "longer_px": 1333} if options.gpu else {"shorter_px": size_px, "longer_px": size_px}
    base: dict[str, Any] = {
        "kind": "distill",
        "student": {"type": "retinanet", "backbone": {"name": "resnet18"}},
        "teacher": {"checkpoint": str(teacher), "gate": "keys"},
        "inherit": "nothing",
        "data": {
            "type": "shapes",
            "num_train": options.steps * batch_size,
            "num_val": 4,
            "image_size_px": min(size_px, 256),
        },
        "input": side,
        "training": {
            "epochs": 1,
            "batch_size": batch_size,
            "precision": "bfloat16" if options.gpu else "float32",
            "checkpoint_every_s": 3600,
        },
        "resources": {"cpus": 1, "gpus": int(options.gpu)},
    }
    specs = []
    for index in range(options.trials):
        method = {"type": "fgd", "scale": 0.001 * 2**index}
        spec = JOB_SPEC.validate_python(base | {"name": f"trial {index}", "method": method})
        assert isinstance(spec, DistillSpec)
        specs.append(spec)
    return specs


def plain(spec: DistillSpec) -> TrainSpec:
    """Return the same training without a teacher."""
    shared = spec.model_dump(include={"name", "data", "input", "training", "resources", "seed"})
    return TrainSpec.model_validate({**shared, "detector": spec.student})


def write_teacher(spec: DistillSpec, path: Path) -> None:
    """Write a ResNet-101 with random weights whose features have a magnitude that a student can imitate."""
    torch.manual_seed(0)
    dataset = open_dataset(spec.data, "train")
    backbone = spec.student.backbone.model_copy(update={"name": "resnet101"})
    settings = spec.student.model_copy(update={"backbone": backbone})
    teacher = build_detector(settings, len(dataset.categories))
    for name, module in teacher.named_modules():
        if name.endswith("bn3") and isinstance(module, nn.BatchNorm2d):
            nn.init.constant_(module.weight, 0.2)  # otherwise each of the 33 blocks doubles the variance
    path.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(
        path,
        DetectorCheckpoint(
            detector=settings,
            categories=dataset.categories,
            input=spec.input,
            record=Record(scores=None),
            state=teacher.state_dict(),
        ),
    )


def are_identical(folder: Path, trials: int) -> bool:
    """Return whether each trial ended with the same weights in both modes, and no two trials with equal weights."""
    states = [
        [read_checkpoint(folder / f"{mode}-{index}/checkpoints/last.pt")[0].state for index in range(trials)]
        for mode in ("alone", "shared")
    ]
    same = all(_equal(a, b) for a, b in zip(*states, strict=True))
    return same and not any(_equal(a, b) for a, b in pairwise(states[0]))


def _equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=4)
    parser.add_argument("--steps", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--size-px", type=int, default=128, help="side of the images in pixels, without --gpu")
    parser.add_argument("--max-bytes", type=int, default=SharedTeacher(SWEEP).max_bytes)
    parser.add_argument(
        "--gpu", action="store_true", help="use 800x1333 in bfloat16 on one GPU, and also train without a teacher"
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="folder for the results")
    options = parser.parse_args()
    if options.gpu and not torch.cuda.is_available():
        Console().print("PyTorch finds no GPU; run `python -m benchmarks.shared_teacher --gpu` on a machine with one.")
        return 2
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        specs = specs_for(options, folder / "teacher.pt")
        write_teacher(specs[0], folder / "teacher.pt")
        runs: dict[Mode, Run] = {mode: run_all(specs, mode, folder, options.max_bytes) for mode in ("alone", "shared")}
        if options.gpu:
            runs["plain"] = run_all([plain(spec) for spec in specs], "plain", folder, options.max_bytes)
        _write(options, runs, is_identical=are_identical(folder, options.trials))
    return 0


def _write(options: argparse.Namespace, runs: dict[Mode, Run], *, is_identical: bool) -> None:
    alone, shared, k = runs["alone"], runs["shared"], options.trials
    teacher_s = mean(trial.teacher_cpu_s / trial.steps for trial in alone.trials)
    student_s = mean(trial.cpu_s / trial.steps for trial in alone.trials) - teacher_s
    ideal = (teacher_s + k * student_s) / (k * teacher_s + k * student_s)
    ratio, cpu_ratio = shared.wall_s / alone.wall_s, shared.cpu_s / alone.cpu_s
    where = torch.cuda.get_device_name() if options.gpu else f"{os.cpu_count()} cores, {platform.machine()}"
    size = "800x1333 in bfloat16" if options.gpu else f"{options.size_px}x{options.size_px}"
    account = {name: sum(trial.account[name] for trial in shared.trials) for name in shared.trials[0].account}
    lines = [
        f"# One teacher for {k} trials",
        "",
        f"`make bench-shared-teacher` on {datetime.now(UTC):%Y-%m-%d}, {where}, PyTorch {torch.__version__}:",
        f"{k} trials at the same time, a ResNet-101 teaches ResNet-18s, {options.steps} steps of {options.batch_size}",
        f"images of {size}.",
        "",
        "| | one teacher per trial | shared | ratio |",
        "|---|---|---|---|",
        f"| all steps of all trials, wall clock | {alone.wall_s:.1f} s | {shared.wall_s:.1f} s | **{ratio:.3f}** |",
        f"| the same in CPU time | {alone.cpu_s:.1f} s | {shared.cpu_s:.1f} s | {cpu_ratio:.3f} |",
        f"| peak memory of the trials (PSS) | {_gib(alone.peak_pss_bytes)} | {_gib(shared.peak_pss_bytes)} | |",
        f"| peak memory of the shared maps | 0 | {_gib(shared.peak_store_bytes)} | |",
        "",
        f"T = {teacher_s:.3f} s and S = {student_s:.3f} s of CPU time (in the run without sharing), so the ideal ratio",
        f"(T + {k}S) / ({k}T + {k}S) is {ideal:.3f}. That of wall clock is **{ratio / ideal:.3f}** times the ideal,",
        f"that of CPU time {cpu_ratio / ideal:.3f} times; the target is {AIM}. Final weights bit-identical: "
        f"{'yes' if is_identical else '**NO**'}.",
        f"Maps: {account['computed']} computed when needed, {account['ahead']} ahead, {account['shared']} from memory, "
        f"{account['alone']} without sharing. All trials together waited {account['waited_s']:.1f} s for maps.",
    ]
    if "plain" in runs:
        lines.append(
            f"The same students without a teacher took {runs['plain'].wall_s:.1f} s. A shared teacher takes "
            f"{shared.wall_s / runs['plain'].wall_s:.2f} times as long, one teacher per trial "
            f"{alone.wall_s / runs['plain'].wall_s:.2f} times."
        )
    text = "\n".join(lines) + "\n"
    name = "shared_teacher_gpu" if options.gpu else "shared_teacher"
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / f"{name}.md").write_text(text)
    document = {
        "teacher_s": teacher_s,
        "student_s": student_s,
        "ideal": ideal,
        "ratio": ratio,
        "cpu_ratio": cpu_ratio,
        "is_identical": is_identical,
        "runs": {mode: asdict(run) for mode, run in runs.items()},
    }
    (options.out / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")
    Console().print(text, markup=False)


def _gib(num_bytes: int) -> str:
    return f"{num_bytes / 2**30:.2f} GiB"


if __name__ == "__main__":
    raise SystemExit(main())
