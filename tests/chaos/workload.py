"""Plans the jobs of the experiment: small real jobs, each with the state in which it must end."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from fgd_core.spec.backbones import ResNet
from fgd_core.spec.data import Coco, CocoSplit, InputSpec, Shapes
from fgd_core.spec.detectors import RetinaNet
from fgd_core.spec.events import JobState
from fgd_core.spec.jobs import JobSpec
from fgd_core.spec.kinds.distill import DistillSpec
from fgd_core.spec.kinds.evaluate import EvaluateSpec
from fgd_core.spec.kinds.teacher import Teacher
from fgd_core.spec.kinds.train import TrainSpec
from fgd_core.spec.methods import Fgd
from fgd_core.spec.training import AdamW, TrainingSpec

UserAction = Literal["cancel", "pause_and_resume"]


@dataclass(frozen=True, kw_only=True)
class PlannedJob:
    """Describes a job, its expected end, and what a user does to it."""

    spec: JobSpec
    end: JobState = "succeeded"
    error_code: str | None = None
    user_action: UserAction | None = None
    """What a user does to it while it runs."""
    teacher: int | None = None
    """Index of the planned job whose checkpoint it needs."""

    @property
    def key(self) -> str:
        """The idempotency key."""
        return f"chaos {self.spec.name}"

    def with_teacher(self, job_id: str) -> JobSpec:
        """Return the spec with the checkpoint of this job."""
        reference = f"job:{job_id}/best"
        match self.spec:
            case DistillSpec() as spec:
                return spec.model_copy(update={"teacher": spec.teacher.model_copy(update={"checkpoint": reference})})
            case EvaluateSpec() as spec:
                return spec.model_copy(update={"checkpoint": reference})
            case spec:
                return spec


def planned_jobs(count: int, rng: random.Random, *, epochs: tuple[int, int]) -> list[PlannedJob]:
    """Plan `count` jobs, at least six: one must fail, one is cancelled, one is paused, a fifth depend on others.

    Args:
        epochs: lowest and highest number of epochs of a training.
    """
    plain: Iterator[PlannedJob] = (
        PlannedJob(spec=_train(f"train {n}", rng.randint(*epochs), rng)) for n in range(1, count + 1)
    )
    special = [
        PlannedJob(spec=_train("to cancel", 100_000, rng), end="cancelled", user_action="cancel"),
        PlannedJob(spec=_train("to pause", 2 * epochs[1], rng), user_action="pause_and_resume"),
        PlannedJob(spec=_train("bad data", 2, rng, data=_NOWHERE), end="failed", error_code="data"),
    ]
    num_waiting = max(1, count // 5)
    jobs = [next(plain) for _ in range(count - len(special) - num_waiting)]
    for planned in special:
        jobs.insert(rng.randint(0, len(jobs)), planned)
    teachers = [at for at, planned in enumerate(jobs) if planned.end == "succeeded"]
    for n in range(num_waiting):
        spec = _evaluate(f"evaluate {n}", rng) if n % 3 == 2 else _distill(f"distill {n}", rng.randint(*epochs), rng)
        jobs.append(PlannedJob(spec=spec, teacher=rng.choice(teachers)))
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
        # After so few epochs the teacher detects nothing, and the gate on AP would refuse it.
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
