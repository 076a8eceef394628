"""The jobs that go through it all: real ones, small, and each with the end that it has to come to."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from fgd_core.spec.backbones import ResNet
from fgd_core.spec.data import Coco, CocoSplit, InputSpec, Shapes
from fgd_core.spec.detectors import RetinaNet
from fgd_core.spec.events import JobState
from fgd_core.spec.jobs import DistillSpec, EvaluateSpec, JobSpec, Teacher, TrainSpec
from fgd_core.spec.methods import Fgd
from fgd_core.spec.training import AdamW, TrainingSpec

Deed = Literal["cancel", "pause_and_resume"]


@dataclass(frozen=True, kw_only=True)
class Errand:
    spec: JobSpec
    end: JobState = "succeeded"
    error_code: str | None = None
    deed: Deed | None = None
    """What a user does to it on the way."""
    teacher: int | None = None
    """Place in the list of the errand whose checkpoint it needs; filled in once that job has an id."""

    @property
    def key(self) -> str:
        return f"chaos {self.spec.name}"

    def with_teacher(self, job_id: str) -> JobSpec:
        reference = f"job:{job_id}/best"
        match self.spec:
            case DistillSpec() as spec:
                return spec.model_copy(update={"teacher": spec.teacher.model_copy(update={"checkpoint": reference})})
            case EvaluateSpec() as spec:
                return spec.model_copy(update={"checkpoint": reference})
            case spec:
                return spec


def errands(count: int, rng: random.Random, *, epochs: tuple[int, int]) -> list[Errand]:
    """`count` of them, at least six: one that must fail, one to cancel, one to pause, a fifth that wait for others.

    Args:
        epochs: the fewest and the most of a training.
    """
    plain: Iterator[Errand] = (
        Errand(spec=_train(f"train {n}", rng.randint(*epochs), rng)) for n in range(1, count + 1)
    )
    special = [
        Errand(spec=_train("to cancel", 100_000, rng), end="cancelled", deed="cancel"),
        Errand(spec=_train("to pause", 2 * epochs[1], rng), deed="pause_and_resume"),
        Errand(spec=_train("bad data", 2, rng, data=_NOWHERE), end="failed", error_code="data"),
    ]
    num_waiting = max(1, count // 5)
    jobs = [next(plain) for _ in range(count - len(special) - num_waiting)]
    for errand in special:
        jobs.insert(rng.randint(0, len(jobs)), errand)
    teachers = [at for at, errand in enumerate(jobs) if errand.end == "succeeded"]
    for n in range(num_waiting):
        spec = _evaluate(f"evaluate {n}", rng) if n % 3 == 2 else _distill(f"distill {n}", rng.randint(*epochs), rng)
        jobs.append(Errand(spec=spec, teacher=rng.choice(teachers)))
    return jobs


_TINY = RetinaNet(backbone=ResNet(name="resnet18", stem_width=8, blocks=(1, 1, 1, 1)), fpn_width=16)
_DATA = Shapes(num_train=16, num_val=4, image_size_px=64)
_NOWHERE = Coco(
    train=CocoSplit(images="/nowhere/images", annotations="/nowhere/train.json"),
    val=CocoSplit(images="/nowhere/images", annotations="/nowhere/val.json"),
)
_INPUT = InputSpec(shorter_px=64, longer_px=64)
_PROJECTS = ("default", "blood", "road")


def _train(name: str, epochs: int, rng: random.Random, *, data: Coco | Shapes = _DATA) -> TrainSpec:
    return TrainSpec(
        name=name,
        detector=_TINY,
        data=data,
        input=_INPUT,
        training=_training(epochs),
        project=rng.choice(_PROJECTS),
        priority=rng.randint(-10, 10),
    )


def _distill(name: str, epochs: int, rng: random.Random) -> DistillSpec:
    return DistillSpec(
        name=name,
        student=_TINY,
        # A teacher of so few epochs finds nothing, which the gate on AP would rightly refuse.
        teacher=Teacher(checkpoint="job:unknown/best", gate="keys"),
        method=Fgd(scale=0.05),
        inherit="nothing",
        data=_DATA,
        input=_INPUT,
        training=_training(epochs),
        project=rng.choice(_PROJECTS),
        priority=rng.randint(-10, 10),
    )


def _evaluate(name: str, rng: random.Random) -> EvaluateSpec:
    return EvaluateSpec(name=name, checkpoint="job:unknown/best", data=_DATA, project=rng.choice(_PROJECTS))


def _training(epochs: int) -> TrainingSpec:
    return TrainingSpec(epochs=epochs, batch_size=4, optimizer=AdamW(), evaluate_every=1_000_000, warmup_steps=0)
