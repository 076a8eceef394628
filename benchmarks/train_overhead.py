"""Compares the speed of a training alone with the same training under Ray Train, each with one worker, alternating.

    python -m benchmarks.train_overhead [--gpu] [--epochs 5] [--repetitions 3] [--out benchmarks/results]

Both run in a Ray actor with the same resources, and report through the same context; only Ray Train, its process group
of one and the group's actor are added. The speed is the median of images/s over the epochs after the first.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import ray
from rich.console import Console

from fgd_core.spec.backbones import ResNet
from fgd_core.spec.data import InputSpec, Shapes
from fgd_core.spec.detectors import RetinaNet
from fgd_core.spec.events import EpochFinished, RunEvent
from fgd_core.spec.kinds.train import TrainSpec
from fgd_core.spec.resources import Resources
from fgd_core.spec.training import TrainingSpec
from workers.remote.context import RemoteContext
from workers.remote.imported import Imported
from workers.remote.messages import Update
from workers.remote.workspace import Node, SharedRemoteWorkspace
from workers.training.group import Group
from workers.training.task import GroupTask

_EXECUTE = Imported("fgd_core.runs", "execute")
_UPDATE_S = 1.0


@dataclass(frozen=True)
class Speed:
    """Holds what one training took."""

    images_per_s: float
    seconds: float
    """From the start of its processes to its final event."""


class Alone:
    """Runs a training in a Ray actor, without Ray Train."""

    def run(self, spec: TrainSpec, folder: Path) -> list[RunEvent]:
        """Run the training, and return its events."""
        context = RemoteContext(SharedRemoteWorkspace(folder, {}))
        assert context.open(Node())
        context.emit(_EXECUTE(spec, context))
        return _events(context.update)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpu", action="store_true", help="train on a GPU in bfloat16, at 800 x 1333 pixels")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    ray.init(include_dashboard=False, log_to_driver=False, configure_logging=False)
    spec = _spec(is_gpu=options.gpu, epochs=options.epochs)
    alone: list[Speed] = []
    train: list[Speed] = []
    for repetition in range(options.repetitions):
        turns = [(_alone, alone), (_train, train)]
        for measure, speeds in turns if repetition % 2 == 0 else reversed(turns):
            with tempfile.TemporaryDirectory() as folder:
                speeds.append(_measured(measure, spec, Path(folder)))
    found = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "ray": ray.__version__,
        "device": "GPU" if options.gpu else f"{os.cpu_count()} cores",
        "alone": [asdict(speed) for speed in alone],
        "train": [asdict(speed) for speed in train],
        "ratio": _median(train, "images_per_s") / _median(alone, "images_per_s"),
        "start_s": _median(train, "seconds") - _median(alone, "seconds"),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "train_overhead.json").write_text(json.dumps(found, indent=1) + "\n")
    (options.out / "train_overhead.md").write_text(_markdown(found))
    Console().print(_markdown(found))
    ray.shutdown()


def _spec(*, is_gpu: bool, epochs: int) -> TrainSpec:
    num_images = 512 if is_gpu else 64
    return TrainSpec(
        name="overhead",
        detector=RetinaNet() if is_gpu else RetinaNet(backbone=ResNet(name="resnet18"), fpn_width=64),
        data=Shapes(num_train=num_images, num_val=4, image_size_px=800 if is_gpu else 128),
        input=InputSpec() if is_gpu else InputSpec(shorter_px=128, longer_px=128),
        training=TrainingSpec(epochs=epochs, batch_size=8, evaluate_every=1_000_000),
        resources=Resources(gpus=int(is_gpu), cpus=8 if is_gpu else 1),
    )


def _measured(run: Any, spec: TrainSpec, folder: Path) -> Speed:
    began_s = time.perf_counter()
    events = run(spec, folder)
    took_s = time.perf_counter() - began_s
    speeds = [event.images_per_s for event in events if isinstance(event, EpochFinished)]
    return Speed(statistics.median(speeds[1:]), took_s)


def _alone(spec: TrainSpec, folder: Path) -> list[RunEvent]:
    actor: Any = ray.remote(Alone)
    events: list[RunEvent] = ray.get(
        actor.options(num_cpus=spec.resources.cpus, num_gpus=spec.resources.gpus).remote().run.remote(spec, folder)
    )
    return events


def _train(spec: TrainSpec, folder: Path) -> list[RunEvent]:
    workspace = SharedRemoteWorkspace(folder, {})
    group = Group(GroupTask(spec.name, spec, 1, workspace, partial(RemoteContext, workspace), _EXECUTE))
    events = _events(group.update)
    group.close()
    return events


def _events(update_within: Callable[[float], Update]) -> list[RunEvent]:
    """Collect the events of a training that must succeed."""
    events: list[RunEvent] = []
    while True:
        update = update_within(_UPDATE_S)
        events += update.events
        if update.finished is not None:
            assert update.finished.outcome == "succeeded", update.finished
            return events


def _median(speeds: list[Speed], what: str) -> float:
    return float(statistics.median(getattr(speed, what) for speed in speeds))


def _markdown(found: dict[str, Any]) -> str:
    def shown(name: str) -> str:
        return ", ".join(f"{each['images_per_s']:.2f}" for each in found[name])

    return (
        "# A training under Ray Train compared with the same training alone\n\n"
        f"`python -m benchmarks.train_overhead`, {found['at'][:10]}, Ray {found['ray']}, {found['device']}: one worker "
        "each, alternating.\n\n"
        f"Alone {shown('alone')} images/s, under Ray Train {shown('train')}: {found['ratio']:.3f} times (medians). "
        f"The processes of Ray Train take {found['start_s']:.1f} s more to start and end.\n"
    )


if __name__ == "__main__":
    main()
