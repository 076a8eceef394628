"""Small jobs for tests of the library, and a context that records events."""

import json
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from fgd_core.spec.events import EpochFinished, RunEvent
from fgd_core.spec.jobs import JOB_SPEC
from fgd_core.spec.kinds.distill import DistillSpec
from fgd_core.spec.kinds.evaluate import EvaluateSpec
from fgd_core.spec.kinds.train import TrainSpec

TINY_DETECTOR: dict[str, Any] = {
    "type": "retinanet",
    "backbone": {"name": "resnet18", "stem_width": 4, "blocks": [1, 1, 1, 1]},
    "fpn_width": 8,
}
TINY: dict[str, Any] = {
    "data": {"type": "shapes", "num_train": 8, "num_val": 4, "image_size_px": 64},
    "input": {"shorter_px": 64, "longer_px": 64},
    "training": {"epochs": 2, "batch_size": 4, "optimizer": {"type": "adamw"}, "schedule": {"type": "cosine"}},
}

E = TypeVar("E", bound=RunEvent)
S = TypeVar("S", TrainSpec, DistillSpec, EvaluateSpec)


def train_spec(**fields: Any) -> TrainSpec:
    spec = JOB_SPEC.validate_python(
        _merge({"kind": "train", "name": "plain", "detector": TINY_DETECTOR, **TINY}, fields)
    )
    assert isinstance(spec, TrainSpec)
    return spec


def distill_spec(teacher: Path | str, /, **fields: Any) -> DistillSpec:
    base = {
        "kind": "distill",
        "name": "distilled",
        "student": TINY_DETECTOR,
        "teacher": {"checkpoint": str(teacher)},
        "method": {"type": "fgd", "scale": 0.05},
        "inherit": "nothing",
        **TINY,
    }
    spec = JOB_SPEC.validate_python(_merge(base, fields))
    assert isinstance(spec, DistillSpec)
    return spec


def evaluate_spec(checkpoint: Path | str, /, **fields: Any) -> EvaluateSpec:
    base = {"kind": "evaluate", "name": "evaluated", "checkpoint": str(checkpoint), "data": TINY["data"]}
    spec = JOB_SPEC.validate_python(_merge(base, fields))
    assert isinstance(spec, EvaluateSpec)
    return spec


def with_data(spec: S, data: dict[str, Any]) -> S:
    return type(spec).model_validate(spec.model_dump() | {"data": data})


def _merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


class RecordingContext:
    """A `RunContext` that records every event, and asks to stop after a number of calls of `should_stop`."""

    def __init__(self, job_dir: Path, *, stop_after_steps: int | None = None) -> None:
        self.job_dir = job_dir
        self.events: list[RunEvent] = []
        self._num_calls = 0
        self._stop_after_steps = stop_after_steps

    def emit(self, event: RunEvent) -> None:
        self.events.append(event)

    def should_stop(self) -> bool:
        self._num_calls += 1
        return self._stop_after_steps is not None and self._num_calls > self._stop_after_steps

    def resolve_checkpoint(self, source: str) -> Path:
        return Path(source)

    def of(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]


class StopsAfterAnEpoch(RecordingContext):
    """Asks to stop as soon as the first epoch is trained."""

    def should_stop(self) -> bool:
        return bool(self.of(EpochFinished))


def write_pool(folder: Path, num_images: int = 6) -> dict[str, Any]:
    """Write images without labels, each with a grey square, which no image of `write_squares` has; return the pool."""
    folder.mkdir(parents=True)
    for index in range(num_images):
        pixels = np.full((64, 64, 3), 40, np.uint8)
        x = 5 * index
        pixels[8:40, x : x + 32] = 200 + index
        Image.fromarray(pixels).save(folder / f"pool_{index}.png")
    return {"images": str(folder)}


def write_squares(folder: Path, num_images: int = 4) -> dict[str, Any]:
    """Write a data set and return its spec: each image has one white square of an anchor's size, which is easy to
    learn."""
    images, annotations = [], []
    folder.mkdir(parents=True)
    for index in range(num_images):
        x, y = 16 * (index % 3), 16 * (index // 3 % 3)
        pixels = np.full((64, 64, 3), 40, np.uint8)
        pixels[y : y + 32, x : x + 32] = 255
        Image.fromarray(pixels).save(folder / f"{index}.png")
        images.append({"id": index + 1, "file_name": f"{index}.png", "width": 64, "height": 64})
        annotations.append({"id": index + 1, "image_id": index + 1, "category_id": 1, "bbox": [x, y, 32, 32]})
    path = folder / "annotations.json"
    categories = [{"id": 1, "name": "square"}]
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    split = {"images": str(folder), "annotations": str(path)}
    return {"type": "coco", "train": split, "val": split}
