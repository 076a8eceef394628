"""Compares the engines of COCO's evaluation: time, peak memory and numbers of boxes, masks, and of what a report needs.

    python -m benchmarks.evaluating [--images 5000] [--mask-images 1000] [--detections 100] [--out benchmarks/results]

Each engine scores the same made-up detections in its own process, from our data set to `Scores`, so the conversion
counts as well. `evidence` matches the boxes for comparisons and diagnoses: with pycocotools as its records of each
image, else with `fgd_core.evaluation.matches`. The peak is what the process needs beyond the detections themselves.
Needs Linux. Run it on an idle machine, about four minutes; ratios of CPU time hold on a busy one as well.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from pycocotools import mask as run_lengths
from rich.console import Console

from benchmarks.diagnosing import SIDE_PX, Drawn, drawn
from fgd_core.data.masks import ObjectMasks
from fgd_core.data.samples import Sample
from fgd_core.evaluation import engine, pycocotools_engine
from fgd_core.evaluation.coco import coco_scores, mask_scores, match_detections
from fgd_core.evaluation.columns import columns_of

NUM_CLASSES = 80
ENGINES = ("pycocotools", "hotcoco")
PARTS = ("boxes", "masks", "evidence")
ROUNDS = {"pycocotools": 1, "hotcoco": 5}
"""The second is over in less than a second, so the median of several is stated."""
_CORNERS = 24


class Cost(NamedTuple):
    """Holds what one process needed for one part."""

    part: str
    engine: str
    num_images: int
    wall_s: float
    cpu_s: float
    peak_mb: float
    """Beyond what the process held before."""
    numbers: dict[str, float | None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--mask-images", type=int, default=1000)
    parser.add_argument("--detections", type=int, default=100)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--only", nargs=2, metavar=("PART", "ENGINE"), help="measure in this process, and print JSON")
    options = parser.parse_args()
    if options.only:
        print(json.dumps(_measured(options.only[0], options.only[1], options)._asdict()))
        return
    costs = [_in_own_process(part, name, options) for part in PARTS for name in ENGINES]
    for first, second in zip(costs[::2], costs[1::2], strict=True):
        assert first.numbers == second.numbers, (first, second)
    table = _markdown(costs, options)
    options.out.mkdir(parents=True, exist_ok=True)
    result = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "machine": _machine()}
    rows = [cost._asdict() for cost in costs]
    (options.out / "evaluating.json").write_text(json.dumps(result | {"costs": rows}, indent=1) + "\n")
    (options.out / "evaluating.md").write_text(table)
    Console().print(table, markup=False)


def _in_own_process(part: str, name: str, options: argparse.Namespace) -> Cost:
    sizes = [f"--{each}={getattr(options, each.replace('-', '_'))}" for each in ("images", "mask-images", "detections")]
    command = [sys.executable, "-m", "benchmarks.evaluating", *sizes, "--only", part, name]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return Cost(**json.loads(done.stdout))


def _measured(part: str, name: str, options: argparse.Namespace) -> Cost:
    if name == "pycocotools":
        vars(engine)["hotcoco_engine"] = None
    num_images = options.mask_images if part == "masks" else options.images
    data = drawn(num_images, options.detections, NUM_CLASSES)
    work = _work(part, name, _with_masks(data) if part == "masks" else data)
    before_mb = _reset_peak_mb()
    walls, cpus, numbers = [], [], {}
    for _ in range(ROUNDS[name]):
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        numbers = work()
        walls.append(time.perf_counter() - wall_s)
        cpus.append(time.process_time() - cpu_s)
    peak_mb = _status_mb("VmHWM") - before_mb
    return Cost(part, name, num_images, statistics.median(walls), statistics.median(cpus), peak_mb, numbers)


def _work(part: str, name: str, data: Drawn) -> Callable[[], dict[str, float | None]]:
    """Return what is measured; it returns the numbers that all engines must agree on."""
    dataset, found = data
    if part == "boxes":
        return lambda: coco_scores(dataset, found).model_dump(exclude={"per_class", "masks", "keypoints"})
    if part == "masks":
        return lambda: mask_scores(dataset, found).model_dump(exclude={"per_class"})
    if name == "pycocotools":
        return lambda: _num_right_of_records(data)
    return lambda: {"right": int(match_detections(dataset, found).matches.is_right.sum())}


def _num_right_of_records(data: Drawn) -> dict[str, float | None]:
    evaluation = pycocotools_engine.evaluated(columns_of(*data, "bbox"))
    known = [each for each in evaluation.evalImgs if each is not None]
    right = sum(int(((each["dtMatches"] > 0) & ~each["dtIgnore"].astype(bool)).sum()) for each in known)
    return {"right": right}


def _with_masks(data: Drawn) -> Drawn:
    """Draw a mask into each box: a blob of 24 corners."""
    rng = np.random.default_rng(2)
    data.dataset.samples = [_masked_sample(rng, sample) for sample in data.dataset.samples]
    found = {
        image_id: each._replace(masks=_blobs(rng, each.boxes_xyxy_px.double().numpy()))
        for image_id, each in data.detections.items()
    }
    return Drawn(data.dataset, found)


def _masked_sample(rng: np.random.Generator, sample: Sample) -> Sample:
    fields = {name: getattr(sample, name) for name in Sample.__dataclass_fields__}
    return Sample(**fields | {"masks": _blobs(rng, sample.boxes_xyxy_px.astype(np.float64))})


def _blobs(rng: np.random.Generator, boxes: npt.NDArray[np.float64]) -> ObjectMasks:
    angles = np.linspace(0, 2 * np.pi, _CORNERS, endpoint=False)
    radii = 1 + 0.15 * np.sin(5 * angles + rng.uniform(0, 6, (len(boxes), 1)))
    unit = np.stack([np.cos(angles), np.sin(angles)], axis=1)  # (corners, 2)
    middle, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    corners = middle[:, None] + half[:, None] * radii[..., None] * unit
    shapes = [run_lengths.frPyObjects([each.ravel().tolist()], SIDE_PX, SIDE_PX)[0]["counts"] for each in corners]
    return ObjectMasks(SIDE_PX, SIDE_PX, tuple(shapes))


def _reset_peak_mb() -> float:
    """Forget the peak so far, and return what the process holds now."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status_mb("VmRSS")


def _status_mb(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 1024


def _machine() -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in ("pycocotools", "hotcoco", "numpy"))
    return f"{platform.machine()}, {torch.get_num_threads()} threads; Python {platform.python_version()}, {packages}"


def _markdown(costs: Sequence[Cost], options: argparse.Namespace) -> str:
    lines = [
        f"COCO's evaluation of {options.detections} detections an image, {NUM_CLASSES} classes; {_machine()}. Both "
        "engines found the same numbers, in every digit.",
        "",
        "| part | images | engine | s | CPU s | faster | by CPU time | peak MB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for reference, other in zip(costs[::2], costs[1::2], strict=True):
        lines += [_row(cost, reference) for cost in (reference, other)]
    return "\n".join(lines) + "\n"


def _row(cost: Cost, reference: Cost) -> str:
    times = f"{cost.wall_s:.2f} | {cost.cpu_s:.2f}"
    faster = f"{reference.wall_s / cost.wall_s:.1f} | {reference.cpu_s / cost.cpu_s:.1f}"
    return f"| {cost.part} | {cost.num_images} | {cost.engine} | {times} | {faster} | {cost.peak_mb:.0f} |"


if __name__ == "__main__":
    main()
