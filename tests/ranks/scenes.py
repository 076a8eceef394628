"""Small runs on images of which two thirds have no box, for one or more ranks."""

import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fgd_core.ranks import rank
from fgd_core.runs import execute
from fgd_core.spec.events import MetricsLogged, RunEvent, RunFinished
from fgd_core.spec.kinds.distill import DistillSpec
from fgd_core.spec.kinds.train import TrainSpec
from tests.library import TINY_DETECTOR, RecordingContext, distill_spec, train_spec, with_data, write_squares
from tests.ranks.float64 import in_float64

TWO_STAGE: dict[str, Any] = {**TINY_DETECTOR, "type": "faster_rcnn"}
"""Trains on all its proposals. If it drew some of them, one proposal more or less, because scores differ in their last
digit, would change the whole sample, and the curves would part."""
SAMPLED: dict[str, Any] = {**TWO_STAGE, "rois_per_image": 32}
DETECTORS = {"retinanet": TINY_DETECTOR, "faster_rcnn": TWO_STAGE, "faster_rcnn_drawing": SAMPLED}
METHODS: dict[str, dict[str, Any]] = {
    "fgd": {"type": "fgd", "scale": 0.05},
    # A method of heads for each kind of detector.
    "crosskd": {"type": "crosskd", "scale": 1},
    "defeat": {"type": "defeat", "scale": 1, "region_foreground": 1.0, "region_background": 1.0},
}


class Ended(NamedTuple):
    """Holds what one rank returned, and what it reported."""

    finished: RunFinished
    events: list[RunEvent]

    def values(self, name: str = "loss") -> list[float]:
        """Return the values of every step."""
        logged = [event for event in self.events if isinstance(event, MetricsLogged)]
        return [value for event in logged for value in event.values[name] if value is not None]


class KilledContext(RecordingContext):
    """Lets the processes of some ranks die of SIGKILL as soon as rank 0 has made some steps."""

    def __init__(self, job_dir: Path, *, ranks: Sequence[int], at_step: int) -> None:
        super().__init__(job_dir)
        self._ranks, self._left = ranks, at_step
        self._file(rank()).write_text(str(os.getpid()))

    def should_stop(self) -> bool:
        self._left -= 1
        if self._left < 0:
            # This process last.
            for number in sorted(self._ranks, reverse=True):
                os.kill(int(self._file(number).read_text()), signal.SIGKILL)
        return False

    def _file(self, number: int) -> Path:
        return self.job_dir / f"rank {number}"


def squares(folder: Path, num_images: int = 12) -> dict[str, Any]:
    """Write a data set of which only every third image has a box, and return its spec."""
    spec = write_squares(folder, num_images)
    path = Path(spec["train"]["annotations"])
    content = json.loads(path.read_text())
    content["annotations"] = [each for each in content["annotations"] if each["image_id"] % 3 == 1]
    path.write_text(json.dumps(content))
    return spec


def plain(data: dict[str, Any], detector: str, *, epochs: int = 1) -> TrainSpec:
    return with_data(train_spec(detector=DETECTORS[detector], training=training(epochs)), data)


def distilled(data: dict[str, Any], detector: str, teacher: Path, method: str, **fields: Any) -> DistillSpec:
    common = {"student": DETECTORS[detector], "method": METHODS[method], "training": training(4)}
    # The teacher is hardly trained, and would not pass.
    return with_data(distill_spec(teacher, **(common | {"teacher": {"gate": "keys"}} | fields)), data)


def training(epochs: int) -> dict[str, Any]:
    return {
        "epochs": epochs,
        "batch_size": 4,
        "evaluate_every": epochs,
        "optimizer": {"type": "sgd", "learning_rate": 0.01},
    }


def run(spec: TrainSpec | DistillSpec, folder: Path, **options: Any) -> Ended:
    """Run a job on this rank; ranks above 0 have a folder of their own."""
    context = RecordingContext(_folder(folder), **options)
    return Ended(execute(spec, context), context.events)


def run_in_float64(spec: TrainSpec | DistillSpec, folder: Path) -> Ended:
    """Run a job as `run` does, but rounding is too small to turn a comparison of two proposals."""
    with in_float64():
        return run(spec, folder)


def run_killed(spec: TrainSpec | DistillSpec, folder: Path, ranks: Sequence[int], at_step: int) -> Ended:
    folder.mkdir(parents=True, exist_ok=True)
    context = KilledContext(folder, ranks=ranks, at_step=at_step)
    return Ended(execute(spec, context), context.events)


def _folder(folder: Path) -> Path:
    return folder if rank() == 0 else folder / f"of rank {rank()}"
