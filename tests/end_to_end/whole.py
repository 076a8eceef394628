"""The whole system: a control plane in a separate process, with its own Ray head and real runs."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fgd_core.spec.backbones import ResNet
from fgd_core.spec.data import InputSpec, Shapes
from fgd_core.spec.detectors import RetinaNet
from fgd_core.spec.events import StoredEvent
from fgd_core.spec.kinds.distill import DistillSpec
from fgd_core.spec.kinds.teacher import Teacher
from fgd_core.spec.kinds.train import TrainSpec
from fgd_core.spec.methods import Fgd
from fgd_core.spec.training import AdamW, TrainingSpec
from fgd_core.spec.views import JobView
from service.client.client import FgdClient
from service.dispatcher.local import LocalRay

LEASE_TTL_S = 3.0
"""Of the control plane; the default is longer."""


@contextmanager
def running(**environment: str) -> Iterator["Whole"]:
    """Run the system in a new home folder, which also contains the scratch folders, and remove it afterwards."""
    home = Path(tempfile.mkdtemp(prefix="fgd-test-"))
    places = {"FGD_SCRATCH": str(home / "scratch"), "FGD_LOGGERS": f"tensorboard:{home / 'tensorboard'}"}
    whole = Whole(home, **places, **environment)
    try:
        whole.up()
        yield whole
        whole.down()
    finally:
        # This does nothing, unless a test or `fgd up` failed.
        whole.kill()
        asyncio.run(LocalRay(home).stop())
        shutil.rmtree(home)


class Whole:
    """`fgd up`, which can be killed and started again in the same home."""

    def __init__(self, home: Path, **environment: str) -> None:
        self.home = home
        self._environment = environment
        self._port = 0
        self._process: subprocess.Popen[str] | None = None

    @property
    def ray_url(self) -> str:
        """The URL of the current head: a new head replaces one that died."""
        return str(self.head()["url"])

    def head(self) -> dict[str, Any]:
        """Return the description of the Ray head in the home folder."""
        note: dict[str, Any] = json.loads((self.home / "ray.json").read_text())
        return note

    def up(self) -> None:
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "service.client.cli", "up", "--json"),
                *("--home", str(self.home), "--port", str(self._port), "--num-cpus", "2"),
            ],
            env=os.environ | {"FGD_HEARTBEAT_S": "1", "FGD_LEASE_TTL_S": str(LEASE_TTL_S)} | self._environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        started = json.loads(self._process.stdout.readline())
        # The same port after a restart: runs know only this address.
        self._port = int(started["url"].rpartition(":")[2])

    def freeze(self) -> None:
        """Hang like an overloaded machine: connections are accepted and not answered. Only `kill` ends that."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def down(self) -> None:
        self._end(signal.SIGTERM)

    def client(self) -> FgdClient:
        return FgdClient(f"http://127.0.0.1:{self._port}")

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(60)
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None


def train(epochs: int = 2) -> TrainSpec:
    return TrainSpec(name="tiny", detector=_TINY, data=_DATA, input=_INPUT, training=_training(epochs))


def endless() -> TrainSpec:
    """Return a training that only a cancel ends. Its epochs are long, because each has events and a checkpoint."""
    data = _DATA.model_copy(update={"num_train": 64})
    return train(epochs=100_000).model_copy(update={"data": data})


def distill(teacher: str, epochs: int = 1) -> DistillSpec:
    return DistillSpec(
        name="tiny student",
        student=_TINY,
        # A teacher of two epochs detects nothing yet, so the gate on AP would refuse it.
        teacher=Teacher(checkpoint=teacher, gate="keys"),
        method=Fgd(scale=0.05),
        inherit="nothing",
        data=_DATA,
        input=_INPUT,
        training=_training(epochs),
    )


_TINY = RetinaNet(backbone=ResNet(name="resnet18", stem_width=8, blocks=(1, 1, 1, 1)), fpn_width=16)
_DATA = Shapes(num_train=16, num_val=4, image_size_px=64)
_INPUT = InputSpec(shorter_px=64, longer_px=64)


def _training(epochs: int) -> TrainingSpec:
    return TrainingSpec(epochs=epochs, batch_size=4, optimizer=AdamW(), evaluate_every=1_000_000)


def logged_steps(whole: Whole, job: JobView, curve: str) -> list[int]:
    """Return the steps of a curve that TensorBoard shows of a job."""
    folder = whole.home / "tensorboard" / job.project / f"{job.name.replace(' ', '-')}-{job.job_id}"
    read = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    read.Reload()
    return [each.step for each in read.Scalars(curve)]


def last_weights(whole: Whole, job: JobView) -> dict[str, torch.Tensor]:
    """Return the weights at the end of a job."""
    folder = whole.home / "storage/jobs" / job.job_id / "attempts" / str(len(job.attempts))
    state: dict[str, torch.Tensor] = torch.load(folder / "checkpoints/last.pt", weights_only=True)["state"]
    return state


def wait_for(client: FgdClient, job_id: str, so: Callable[[JobView], bool], timeout_s: float = 600.0) -> JobView:
    deadline = time.monotonic() + timeout_s
    while not so(job := client.job(job_id)):
        assert time.monotonic() < deadline, f"{job.state} ({job.reason}): {job.error}; last event {job.last_sequence}"
        # Not more often: on a busy machine the answers would take a tenth of the time of all processes.
        time.sleep(1.0)
    return job


def succeeded(client: FgdClient, job_id: str) -> JobView:
    job = wait_for(client, job_id, lambda job: job.ended_at is not None)
    assert job.state == "succeeded", job.error
    return job


def wait_for_event(client: FgdClient, job_id: str, kind: str, *, after: int = 0) -> StoredEvent:
    for event in client.events(job_id, after=after):
        if event.kind == kind:
            return event
    job = client.job(job_id)
    raise AssertionError(f"job {job_id} is {job.state} and has left no {kind}: {job.error}")


def all_events(client: FgdClient, job_id: str) -> list[StoredEvent]:
    """Return all events of a finished job."""
    return list(client.events(job_id))


def is_complete(events: list[StoredEvent]) -> bool:
    return [event.sequence for event in events] == list(range(1, len(events) + 1))
