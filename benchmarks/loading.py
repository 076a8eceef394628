"""Loads training images at 800×1333: our loader against the reference loader of torchvision's detection recipes.

    python -m benchmarks.loading [--images 400] [--batch 4] [--workers 0 2] [--rounds 3] [--out benchmarks/results]

The images are made up, 640×480 JPEG files, as in COCO. Both loaders decode, flip, and resize to a shorter side of 800
pixels; the reference does the last within the model (`GeneralizedRCNNTransform`), here as the collation of its batches,
so that both deliver padded batches. Ours sends bytes and normalises when a batch reaches its device, which counts here.
Rounds alternate; no image is kept in memory between them. About three minutes on 2 idle cores.
"""

import argparse
import copy
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.datasets import CocoDetection, wrap_dataset_for_transforms_v2
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.transforms import v2

import fgd_core.no_compiler  # noqa: F401  # before torchvision is imported
from fgd_core.data import open_dataset
from fgd_core.data.loading import TrainLoader
from fgd_core.spec.data import Coco, CocoSplit, InputSpec

SIZE_PX = (640, 480)
INPUT = InputSpec(shorter_px=800, longer_px=1333)
BOXES_PER_IMAGE = 7
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), options.images)
        rows = [_compared(Path(folder), workers, options) for workers in options.workers]
    result = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": _machine(),
        "images": options.images,
        "batch": options.batch,
        "rows": rows,
    }
    table = _markdown(rows, options)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "loading.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.out / "loading.md").write_text(table)
    Console().print(table, markup=False)


def make(folder: Path, num_images: int) -> None:
    """Write a COCO data set of smooth pictures with some noise, each of about 90 kB."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir()
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number in range(1, num_images + 1):
        coarse = Image.fromarray(rng.integers(0, 256, (15, 20, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize(SIZE_PX, Image.Resampling.BICUBIC)).astype(np.int16)
        pixels = (smooth + rng.integers(-12, 13, smooth.shape)).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{number}.jpg", quality=90)
        images.append({"id": number, "file_name": f"{number}.jpg", "width": SIZE_PX[0], "height": SIZE_PX[1]})
        for left, top, width, height in (rng.random((BOXES_PER_IMAGE, 4)) * (500, 380, 130, 90) + 1).tolist():
            box = {"id": len(annotations) + 1, "image_id": number, "category_id": 1, "bbox": [left, top, width, height]}
            annotations.append(box | {"area": width * height, "iscrowd": 0, "segmentation": []})
    whole = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "thing"}]}
    (folder / "annotations.json").write_text(json.dumps(whole))


def _compared(folder: Path, workers: int, options: argparse.Namespace) -> dict[str, float]:
    """Return the images per second of both loaders, medians of alternating rounds."""
    loaders = {
        "ours": _ours(folder, workers, options.batch),
        "torchvision": _torchvision(folder, workers, options.batch),
    }
    speeds: dict[str, list[float]] = {name: [] for name in loaders}
    cpus: dict[str, list[float]] = {name: [] for name in loaders}
    for epoch in range(options.rounds):
        for name, load in loaders.items():
            began_s, began_cpu_s = time.perf_counter(), _cpu_s()
            number = sum(len(batch) for batch in load(epoch))
            speeds[name].append(number / (time.perf_counter() - began_s))
            cpus[name].append((_cpu_s() - began_cpu_s) / number * 1000)
    row = {"workers": float(workers)}
    for name in loaders:
        row |= {
            f"{name}_images_per_s": statistics.median(speeds[name]),
            f"{name}_cpu_ms": statistics.median(cpus[name]),
        }
    return row


def _ours(folder: Path, workers: int, batch_size: int) -> Callable[[int], Iterator[Tensor]]:
    split = CocoSplit(images=str(folder / "images"), annotations=str(folder / "annotations.json"))
    dataset = open_dataset(Coco(train=split, val=split), "train")

    def load(epoch: int) -> Iterator[Tensor]:
        # A copy has no decoded images in memory.
        loader = TrainLoader(copy.deepcopy(dataset), INPUT, batch_size=batch_size, seed=0, workers=workers)
        yield from (batch.to("cpu").images for batch in loader.epoch(epoch))
        loader.close()

    return load


def _torchvision(folder: Path, workers: int, batch_size: int) -> Callable[[int], Iterator[Tensor]]:
    transforms = v2.Compose([v2.ToImage(), v2.RandomHorizontalFlip(0.5), v2.ToDtype(torch.float32, scale=True)])
    found = CocoDetection(folder / "images", folder / "annotations.json", transforms=transforms)
    dataset = wrap_dataset_for_transforms_v2(found, target_keys=["boxes", "labels"])
    loader = DataLoader(dataset, batch_size, shuffle=True, num_workers=workers, collate_fn=_Batched(), drop_last=True)
    return lambda _: iter(loader)


class _Batched:
    """Resizes, normalises and pads images as torchvision's detectors do: to (N, 3, H, W) float32."""

    def __init__(self) -> None:
        self._transform = GeneralizedRCNNTransform(INPUT.shorter_px, INPUT.longer_px, MEAN, STD)

    def __call__(self, examples: Sequence[tuple[Tensor, dict[str, Tensor]]]) -> Tensor:
        images, targets = zip(*examples, strict=True)
        batch: Tensor = self._transform([*images], [*targets])[0].tensors
        return batch


def _cpu_s() -> float:
    """Return the CPU time of this process and of those that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _machine() -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "torchvision", "pillow"))
    return f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores; Python {platform.python_version()}, {packages}"


def _markdown(rows: Sequence[dict[str, float]], options: argparse.Namespace) -> str:
    lines = [
        f"Training images of 640×480 at 800×1333, {options.images} images, batches of {options.batch}; {_machine()}.",
        "",
        "| loader workers | ours, images/s | torchvision, images/s | ratio | CPU ms an image, ours | torchvision |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        ours, other = row["ours_images_per_s"], row["torchvision_images_per_s"]
        cpu = f"{row['ours_cpu_ms']:.1f} | {row['torchvision_cpu_ms']:.1f}"
        lines.append(f"| {row['workers']:.0f} | {ours:.1f} | {other:.1f} | {ours / other:.2f} | {cpu} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
