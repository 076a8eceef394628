"""Measures a comparison on a data set of the size of COCO val2017, and the delay of the server's event loop meanwhile.

    python -m benchmarks.comparison

The evidence of two detectors is simulated: 5,000 images, 80 classes, 36,000 boxes in classes as unequal as those of
COCO, 36 detections per image. Prints the time in seconds, the size of a file, and the delay of the event loop.
"""

import argparse
import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fgd_core.spec.comparison import EVIDENCE_VERSION
from fgd_core.statistics.evidence import AREAS, NUM_OVERLAPS
from service.compare.process import Statistics
from service.compare.request import CompareRequest, RunFile

NUM_IMAGES, NUM_CLASSES, NUM_BOXES, PER_IMAGE = 5_000, 80, 36_000, 36
# COCO's shares of small, medium and large boxes.
_SIZES = (0.41, 0.34, 0.25)
_WAKE_EVERY_S = 0.005


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resamples", type=int, default=1000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs = [_run(Path(folder) / f"{seed}.npz", seed) for seed in (1, 2)]
        print(f"{runs[0].path.stat().st_size / 1e6:.1f} MB of evidence per run")
        request = CompareRequest(first=runs[:1], second=runs[1:], resamples=arguments.resamples, random_seed=0)
        asyncio.run(_measure(request))


async def _measure(request: CompareRequest) -> None:
    lags_s: list[float] = []
    sampling = asyncio.create_task(_sample_lags(lags_s))
    began_s = time.perf_counter()
    comparison = await Statistics().compare(request)
    took_s = time.perf_counter() - began_s
    sampling.cancel()
    print(f"{request.resamples:,} paired resamples: {took_s:.1f} s, including the start of the process")
    worst_ms, typical_ms = 1000 * max(lags_s), 1000 * float(np.median(lags_s))
    print(f"delay of the event loop: median {typical_ms:.2f} ms, largest {worst_ms:.1f} ms")
    changed = [row.name for row in comparison.classes if row.change and row.change.finding in ("gained", "lost")]
    print(f"{comparison.sentences[0]} Of {len(comparison.classes)} classes, {len(changed)} changed.")


async def _sample_lags(lags_s: list[float]) -> None:
    while True:
        began_s = time.perf_counter()
        await asyncio.sleep(_WAKE_EVERY_S)
        lags_s.append(time.perf_counter() - began_s - _WAKE_EVERY_S)


def _run(path: Path, seed: int) -> RunFile:
    truth, own = np.random.default_rng(0), np.random.default_rng(seed)
    share = 1 / np.arange(1, NUM_CLASSES + 1) ** 0.9
    counts = np.maximum(NUM_BOXES * share / share.sum(), 9).astype(int)
    columns: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in ("image", "score", "right", "ignored")}
    truths: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in ("image", "count")}
    for num_boxes in counts:
        boxes, sizes = truth.integers(NUM_IMAGES, size=num_boxes), truth.choice(3, num_boxes, p=_SIZES)
        for name, column in _found(own, boxes, sizes).items():
            columns[name].append(column)
        where, place = np.unique(boxes, return_inverse=True)
        count = np.zeros((len(where), len(AREAS)), np.uint16)
        count[:, 0] = np.bincount(place)
        for size in range(len(_SIZES)):
            count[:, 1 + size] = np.bincount(place[sizes == size], minlength=len(where))
        truths["image"].append(where.astype(np.uint16))
        truths["count"].append(count)
    np.savez_compressed(
        path,
        allow_pickle=False,
        version=np.array(EVIDENCE_VERSION),
        fingerprint=np.array("simulated"),
        class_names=np.array([f"class {place}" for place in range(NUM_CLASSES)]),
        image_ids=np.arange(NUM_IMAGES),
        areas=np.array(AREAS),
        overlaps=np.linspace(0.5, 0.95, NUM_OVERLAPS),
        starts=np.cumsum([0, *map(len, columns["image"])]),
        **{name: np.concatenate(column) for name, column in columns.items()},
        truth_starts=np.cumsum([0, *map(len, truths["image"])]),
        truth_image=np.concatenate(truths["image"]),
        truth_count=np.concatenate(truths["count"]),
    )
    return RunFile(job_id=f"run{seed}", name=f"run {seed}", kind="train", seed=seed, path=path, sha256="")


def _found(
    rng: np.random.Generator, boxes: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64]
) -> dict[str, npt.NDArray[Any]]:
    """Simulate detections: six of ten boxes are found with varying overlap; the others are false positives."""
    alarms = len(boxes) * PER_IMAGE * NUM_IMAGES // NUM_BOXES - len(boxes)
    met = np.where(rng.random(len(boxes)) < 0.6, rng.integers(1, NUM_OVERLAPS + 1, len(boxes)), 0)
    met = np.concatenate([met, np.zeros(alarms, np.int64)])
    size = np.concatenate([sizes, rng.choice(3, alarms, p=_SIZES)])
    image = np.concatenate([boxes, rng.integers(NUM_IMAGES, size=alarms)])
    score = np.concatenate([rng.normal(1.5, 1, len(boxes)), rng.normal(0, 1, alarms)])
    order = np.argsort(-score)
    right = np.zeros((len(order), len(AREAS), NUM_OVERLAPS), np.bool_)
    ignored = np.zeros_like(right)
    is_met = np.arange(NUM_OVERLAPS) < met[:, None]
    right[:, 0] = is_met
    for area in range(3):
        right[:, 1 + area] = is_met & (size == area)[:, None]
        ignored[:, 1 + area] = (size != area)[:, None]
    return {
        "image": image[order].astype(np.uint16),
        "score": score[order].astype(np.float32),
        "right": _packed(right[order]),
        "ignored": _packed(ignored[order]),
    }


def _packed(bits: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    return np.packbits(bits.reshape(len(bits), -1), axis=1)


if __name__ == "__main__":
    main()
