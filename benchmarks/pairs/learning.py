"""Trains a detector from scratch on eight images until it has memorised them."""

import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import ValidationError
from rich.console import Console

from benchmarks.pairs.candidates import TEACHER, Candidate, eight_images, scene_of, settings_of
from fgd_core.detectors import build_detector
from fgd_core.detectors.base import num_parameters
from fgd_core.runs import execute
from fgd_core.spec.detectors import AnyDetector, Solo
from fgd_core.spec.events import Evaluated, RunEvent, RunFinished
from fgd_core.spec.kinds.train import TrainSpec
from fgd_core.spec.training import AdamW, CosineSchedule, TrainingSpec

GOAL_AP = 0.8
_GOALS: Mapping[type[AnyDetector], float] = {Solo: 0.5}
"""SOLO's masks have cells of 4 px, and it leaves out masks of 8 cells or fewer. With these two limits, even the true
masks of the eight images score box AP 0.49 and mask AP 0.54 at 256 px, and 0.82 and 0.86 at 640 px."""


def goal_of(candidate: Candidate) -> float:
    """Return the AP that a detector must exceed on its eight images, for boxes and for masks."""
    return _GOALS.get(candidate.kind, GOAL_AP)


@dataclass(frozen=True)
class Learned:
    """Holds the scores of a detector on its eight images."""

    detector: str
    data: str
    parameters: int
    ap: float
    ap50: float
    mask_ap: float | None
    steps: int
    cpu_s: float
    checkpoint: str
    goal_ap: float = GOAL_AP

    @property
    def is_good(self) -> bool:
        return self.ap > self.goal_ap and (self.mask_ap is None or self.mask_ap > self.goal_ap)


def overfit(candidate: Candidate, data: Path, work: Path, *, epochs: int = 250) -> Learned:
    """Train a detector on eight images until its AP on them exceeds its goal, or its epochs are over.

    Raises:
        RuntimeError: the run failed; the message has the cause.
    """
    scene, name = scene_of(candidate), candidate.name
    settings = settings_of(candidate, scene, TEACHER)
    job = TrainSpec(
        name=f"overfit {name}",
        detector=settings,
        data=eight_images(scene, data, work),
        input=scene.input,
        training=TrainingSpec(
            epochs=epochs,
            batch_size=4,
            optimizer=AdamW(learning_rate=2e-3),
            schedule=CosineSchedule(),
            warmup_steps=20,
            clip_norm=10.0,
            evaluate_every=max(1, epochs // 20),
            checkpoint_every_s=3600,
        ),
    )
    folder = work / name.replace(" ", "_")
    done = folder / "learned.json"
    if (before := _learned_before(done, job)) is not None:
        return before
    shutil.rmtree(folder, ignore_errors=True)  # otherwise the run would continue from the checkpoint of another spec
    watch = _Watch(folder, goal_of(candidate))
    started_s = time.process_time()
    finished = execute(job, watch)
    cpu_s = time.process_time() - started_s
    if watch.best is None:
        raise RuntimeError(f"{name} {finished.outcome}: {finished.error and finished.error.traceback}")
    scores = watch.best.scores
    learned = Learned(
        detector=name,
        data=scene.folder,
        parameters=num_parameters(build_detector(settings, len(scores.per_class))),
        ap=scores.ap or 0.0,
        ap50=scores.ap50 or 0.0,
        mask_ap=_mask_ap(watch.best),
        steps=watch.best.step or 0,
        cpu_s=round(cpu_s, 1),
        checkpoint=str(folder / "checkpoints/best.pt"),
        goal_ap=goal_of(candidate),
    )
    done.write_text(json.dumps({"job": job.model_dump(mode="json"), "learned": asdict(learned)}))
    return learned


class _Watch:
    """A `RunContext` that stops the run when it reaches the goal."""

    def __init__(self, job_dir: Path, goal_ap: float) -> None:
        self.job_dir = job_dir
        self.best: Evaluated | None = None
        self._goal_ap = goal_ap

    def emit(self, event: RunEvent) -> None:
        if isinstance(event, Evaluated) and (self.best is None or _least_ap(event) > _least_ap(self.best)):
            self.best = event
        if isinstance(event, RunFinished) and event.error is not None:
            Console(stderr=True).print(event.error.message)

    def should_stop(self) -> bool:
        return self.best is not None and _least_ap(self.best) > self._goal_ap

    def resolve_checkpoint(self, source: str) -> Path:
        return Path(source)


def _learned_before(done: Path, job: TrainSpec) -> Learned | None:
    """Return the stored result of the same job, or None."""
    if not done.exists():
        return None
    before = json.loads(done.read_text())
    try:
        is_same = TrainSpec.model_validate(before["job"]) == job
    except ValidationError:  # the job is from an older version of the spec
        return None
    return Learned(**before["learned"]) if is_same else None


def _least_ap(event: Evaluated) -> float:
    mask_ap = _mask_ap(event)
    return min(event.scores.ap or 0.0, 1.0 if mask_ap is None else mask_ap)


def _mask_ap(event: Evaluated) -> float | None:
    return None if event.scores.masks is None else event.scores.masks.ap or 0.0
