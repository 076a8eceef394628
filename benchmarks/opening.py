"""Opens a data set of COCO's size: time against `pycocotools.COCO()`, and the memory of loader processes that share it.

    python -m benchmarks.opening [--images 118000] [--boxes 860000] [--work FOLDER] [--out benchmarks/results]

The file is made up, with and without polygons of 8 to 45 corners. `COCO()` reads only the file; an opening of ours also
checks every annotation and reads the header of every image, of which all are links to a few JPEG files. Each figure
comes from a process of its own. `first` has no cache, `again` has. The memory is the proportional share (PSS) of this
process and of its loaders, after each has read every sample: `mapped` is what a run has, `objects` a list of samples.
Needs Linux. About six minutes on 2 idle cores, of which four make the files; the disk's cache must hold them (0.6 GB).
"""

import argparse
import json
import multiprocessing
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from pycocotools.coco import COCO
from rich.console import Console

from fgd_core.cache_folder import VARIABLE
from fgd_core.data import inspect_dataset
from fgd_core.data.coco import read_annotations
from fgd_core.data.coco_file import read_coco
from fgd_core.data.findings import Findings
from fgd_core.data.samples import Sample
from fgd_core.spec.data import Coco, CocoSplit

NUM_CLASSES = 80
SIZE_PX = (640, 480)
FILES = ("polygons", "boxes")
STEPS = ("pycocotools", "annotations", "first", "again")
LOADERS = (1, 8)
_NUM_JPEGS = 8


class Cost(NamedTuple):
    """Holds what one process needed for one step."""

    file: str
    step: str
    wall_s: float
    cpu_s: float
    """Of the process and of those that it started."""
    peak_mb: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=118_000)
    parser.add_argument("--boxes", type=int, default=860_000)
    parser.add_argument("--work", type=Path, help="keep the files here, and use those that are here")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--only", nargs=2, metavar=("FILE", "STEP"), help="measure in this process, and print JSON")
    options = parser.parse_args()
    if options.only:
        print(json.dumps(_measured(options.work, *options.only)))
        return
    work = options.work or Path(tempfile.mkdtemp())
    try:
        _report(work, options)
    finally:
        if options.work is None:
            shutil.rmtree(work)


def _report(work: Path, options: argparse.Namespace) -> None:
    make(work, options.images, options.boxes)
    costs = []
    for file in FILES:
        shutil.rmtree(work / ".fgd", ignore_errors=True)
        costs += [Cost(file, step, **_in_own_process(work, file, step)) for step in STEPS]
    kinds = ("mapped", "objects")
    memory = {
        f"{kind} {number}": _in_own_process(work, "boxes", f"{kind} {number}") for kind in kinds for number in LOADERS
    }
    result = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": _machine(),
        "images": options.images,
        "boxes": options.boxes,
        "costs": [cost._asdict() for cost in costs],
        "memory_mb": memory,
    }
    table = _markdown(costs, memory, options)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "opening.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.out / "opening.md").write_text(table)
    Console().print(table, markup=False)


def make(work: Path, num_images: int, num_boxes: int) -> None:
    """Write the annotation files and the images, unless they exist."""
    work.mkdir(parents=True, exist_ok=True)
    for file in FILES:
        if not (work / f"{file}.json").exists():
            _write(work / f"{file}.json", num_images, num_boxes, with_polygons=file == "polygons")
    images = work / "images"
    if images.exists():
        return
    images.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (SIZE_PX[1], SIZE_PX[0], 3), dtype=np.uint8)
    for number in range(_NUM_JPEGS):
        Image.fromarray(noise).save(work / f"{number}.jpg", quality=40 + number)
    for number in range(1, num_images + 1):
        os.link(work / f"{number % _NUM_JPEGS}.jpg", images / _file_name(number))


def _write(path: Path, num_images: int, num_boxes: int, *, with_polygons: bool) -> None:
    partial = path.with_suffix(".partial")
    with partial.open("w") as file:
        file.write('{"info": {"year": 2017}, "licenses": [], "images": [')
        file.write(", ".join(json.dumps(_image(number)) for number in range(1, num_images + 1)))
        file.write('], "annotations": [')
        for number, annotation in enumerate(_annotations(num_images, num_boxes, with_polygons=with_polygons)):
            file.write((", " if number else "") + json.dumps(annotation))
        categories = [
            {"supercategory": "thing", "id": each, "name": f"class {each}"} for each in range(1, NUM_CLASSES + 1)
        ]
        file.write(f'], "categories": {json.dumps(categories)}}}')
    partial.replace(path)


def _image(number: int) -> Mapping[str, object]:
    """Return an entry with the fields that COCO's own have."""
    name = _file_name(number)
    url = f"http://images.example.org/train2017/{name}"
    sizes = {"height": SIZE_PX[1], "width": SIZE_PX[0]}
    return {
        "license": 3,
        "file_name": name,
        "coco_url": url,
        **sizes,
        "date_captured": "2013-11-14 11:18:45",
        "id": number,
    }


def _file_name(number: int) -> str:
    return f"{number:012d}.jpg"


def _annotations(num_images: int, num_boxes: int, *, with_polygons: bool) -> Iterator[Mapping[str, object]]:
    rng = np.random.default_rng(0)
    for number in range(1, num_boxes + 1):
        left, top, width, height = (rng.random(4) * (500, 380, 130, 90) + (0, 0, 5, 5)).round(2).tolist()
        polygon: dict[str, object] = {}
        if with_polygons:
            # The corners lie on an ellipse in the box, so that the outline fits the box.
            angles = np.linspace(0, 2 * np.pi, int(rng.integers(8, 46)))
            x, y = left + width * (1 + np.cos(angles)) / 2, top + height * (1 + np.sin(angles)) / 2
            polygon = {"segmentation": [np.stack([x, y], axis=1).round(2).ravel().tolist()]}
        yield {
            **polygon,
            "area": round(width * height, 4),
            "iscrowd": 0,
            "image_id": int(rng.integers(1, num_images + 1)),
            "bbox": [left, top, width, height],
            "category_id": int(rng.integers(1, NUM_CLASSES + 1)),
            "id": number,
        }


def _in_own_process(work: Path, file: str, step: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.opening", "--work", str(work), "--only", file, step]
    # The caches of the library lie beside the data, wherever else they may be.
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _measured(work: Path, file: str, step: str) -> dict[str, float]:
    path = work / f"{file}.json"
    split = CocoSplit(images=str(work / "images"), annotations=str(path))
    coco = Coco(train=split, val=split)
    if step.split(maxsplit=1)[0] in ("mapped", "objects"):
        kind, number = step.split()
        samples = inspect_dataset(coco, "train").samples
        return {"mb": _memory_mb([*samples] if kind == "objects" else samples, int(number))}
    works: Mapping[str, Callable[[], object]] = {
        "pycocotools": lambda: COCO(str(path)),
        "annotations": lambda: read_annotations(read_coco(path), Findings("refuse")),
        "first": lambda: inspect_dataset(coco, "train"),
        "again": lambda: inspect_dataset(coco, "train"),
    }
    wall_s, cpu_s = time.perf_counter(), _cpu_s()
    found = works[step]()
    cost = {"wall_s": time.perf_counter() - wall_s, "cpu_s": _cpu_s() - cpu_s}
    del found
    return cost | {"peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def _cpu_s() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _memory_mb(samples: Sequence[Sample], num_loaders: int) -> float:
    """Return the memory of this process and of forked loaders that have read every sample."""
    fork = multiprocessing.get_context("fork")
    read, measured = fork.Barrier(num_loaders + 1), fork.Barrier(num_loaders + 1)
    loaders = [fork.Process(target=_load, args=(samples, read, measured)) for _ in range(num_loaders)]
    for loader in loaders:
        loader.start()
    read.wait()
    total_kb = sum(_pss_kb(pid) for pid in (os.getpid(), *(loader.pid for loader in loaders)))
    measured.wait()
    for loader in loaders:
        loader.join()
    return total_kb / 1024


def _load(samples: Sequence[Sample], read: Barrier, measured: Barrier) -> None:
    total = sum(float(sample.boxes_xyxy_px.sum()) + int(sample.labels.sum()) for sample in samples)
    assert total > 0
    read.wait()
    measured.wait()


def _pss_kb(pid: int | None) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def _machine() -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in ("pycocotools", "msgspec", "numpy", "pillow"))
    return f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores; Python {platform.python_version()}, {packages}"


def _markdown(costs: Sequence[Cost], memory: Mapping[str, Mapping[str, float]], options: argparse.Namespace) -> str:
    lines = [
        f"A file of COCO's form with {options.images} images and {options.boxes} boxes; {_machine()}. `annotations` "
        "reads the file and checks each annotation; `first` and `again` also check every image.",
        "",
        "| file | step | s | CPU s | faster than COCO() | by CPU time | peak MB |",
        "|---|---|---|---|---|---|---|",
    ]
    reference = {cost.file: cost for cost in costs if cost.step == "pycocotools"}
    for cost in costs:
        own = reference[cost.file]
        faster = f"{own.wall_s / cost.wall_s:.1f} | {own.cpu_s / cost.cpu_s:.1f}"
        lines.append(
            f"| {cost.file} | {cost.step} | {cost.wall_s:.2f} | {cost.cpu_s:.2f} | {faster} | {cost.peak_mb:.0f} |"
        )
    lines += ["", "| samples | MB, 1 loader | MB, 8 loaders | ratio |", "|---|---|---|---|"]
    for kind in ("mapped", "objects"):
        one, eight = (memory[f"{kind} {number}"]["mb"] for number in LOADERS)
        lines.append(f"| {kind} | {one:.0f} | {eight:.0f} | {eight / one:.2f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
