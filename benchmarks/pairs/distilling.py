"""Trains a student with a teacher for a few steps."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.pairs.candidates import NUCLEI, STUDENT, Candidate, eight_images, scene_of, settings_of
from fgd_core.data import open_dataset
from fgd_core.data.loading import TrainLoader
from fgd_core.detectors import build_detector
from fgd_core.detectors.weights.checkpoint import read_checkpoint
from fgd_core.methods.base import Moment
from fgd_core.spec.methods import Fgd
from fgd_core.spec.plans import PlannedLevel
from fgd_core.spec.training import AdamW
from fgd_core.training.distiller import Distiller
from fgd_core.training.machine import seed_everything
from fgd_core.training.optimizers import ParameterGroup, build_optimizer
from fgd_core.training.step import Learner, training_step


@dataclass(frozen=True)
class Pair:
    """Holds the levels and the losses of a few steps of a student with a teacher."""

    student: str
    teacher: str
    levels: list[str]
    left_out: dict[str, list[str]]
    """Levels of the `student` and of the `teacher` that are not distilled."""
    first_loss: float
    last_loss: float
    first_distilled: float
    last_distilled: float

    @property
    def is_good(self) -> bool:
        falls = self.last_loss < self.first_loss and self.last_distilled < self.first_distilled
        return falls and math.isfinite(self.last_loss)


def distil(
    candidate: Candidate,
    teacher_checkpoint: Path,
    data: Path,
    work: Path,
    *,
    steps: int = 10,
    values: Mapping[str, Any] = STUDENT,
) -> Pair:
    """Train a new student with the teacher of a checkpoint: some steps on one batch of the student's images."""
    scene = scene_of(candidate)
    checkpoint, _ = read_checkpoint(teacher_checkpoint)
    teacher, _ = checkpoint.build("teacher", str(teacher_checkpoint))
    dataset = open_dataset(eight_images(scene, data, work), "train", with_masks=scene is NUCLEI)
    batch = next(TrainLoader(dataset, scene.input, batch_size=2, seed=0, workers=0).epoch(0)).to("cpu")
    seed_everything(0)
    student = build_detector(settings_of(candidate, scene, values), len(dataset.categories)).train()
    distiller = Distiller(Fgd(scale=0.05), student, teacher)
    learner = Learner(student, distiller)
    optimizer = build_optimizer(AdamW(), [ParameterGroup([*learner.parameters()])])
    curve = [
        training_step(learner, optimizer, batch, clip_norm=35.0, autocast_dtype=None, moment=Moment())
        for _ in range(steps)
    ]
    first, last = curve[0], curve[-1]
    return Pair(
        student=candidate.name,
        teacher=Candidate(type(checkpoint.detector)).name,
        levels=list(distiller.level_names),
        left_out=_left_out(distiller.planned_levels),
        first_loss=float(first["loss"]),
        last_loss=float(last["loss"]),
        first_distilled=float(first["distill/total"]),
        last_distilled=float(last["distill/total"]),
    )


def _left_out(levels: Sequence[PlannedLevel]) -> dict[str, list[str]]:
    rest = [level for level in levels if not level.is_distilled]
    return {
        "student": [level.student.name for level in rest if level.student is not None],
        "teacher": [level.teacher.name for level in rest if level.teacher is not None],
    }
