"""Trains teachers and students, and records each finished run."""

import fcntl
import hashlib
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from benchmarks.evidence.plan import PLAIN, Setting, student_spec, teacher_spec
from benchmarks.evidence.recording import Recording, record, recorded
from fgd_core.runs import execute
from fgd_core.spec.events import EpochFinished, Evaluated, RunEvent
from fgd_core.spec.jobs import JOB_SPEC
from fgd_core.spec.results import RunResult

TEACHER = "teacher"


class _Recorder:
    """A `RunContext` that keeps the curves. A run that was interrupted begins again, so that its curves are whole."""

    def __init__(self, job_dir: Path) -> None:
        self.job_dir = job_dir
        self.aps: list[float] = []
        self.values: dict[str, list[float]] = {}

    def emit(self, event: RunEvent) -> None:
        if isinstance(event, Evaluated) and event.epoch is not None:
            self.aps.append(round(event.scores.ap or 0.0, 5))
        elif isinstance(event, EpochFinished):
            for name, value in event.values.items():
                self.values.setdefault(name, []).append(float(f"{value:.4g}"))

    def should_stop(self) -> bool:
        return False

    def resolve_checkpoint(self, source: str) -> Path:
        return Path(source)


def train(name: str, setting: Setting, arm: str, seed: int, work: Path) -> Recording:
    """Return the recording of a run, which is trained if there is none yet.

    The teacher's checkpoint is not recorded, so on another machine it is trained again: recordings then have another
    `teacher_sha256`.
    """
    for each in recorded(name):
        if (each.arm, each.seed, each.epochs) == (arm, seed, setting.epochs) and arm != TEACHER:
            return each
    checkpoint = _trained_teacher(name, setting, work)
    if arm == TEACHER:
        return next(
            each for each in recorded(name) if each.arm == TEACHER and each.teacher_sha256 == _sha256(checkpoint)
        )
    spec = student_spec(setting, arm, seed, checkpoint)
    recorder = _Recorder(_new_folder(work / name / f"{arm}-{seed}"))
    finished = _recording(name, arm, seed, spec, recorder)
    if arm != PLAIN:
        teacher = _teacher(name, checkpoint)
        update = {"teacher_ap": teacher.scores.ap, "teacher_sha256": teacher.teacher_sha256}
        finished = finished.model_copy(update=update)
    record(finished)
    return finished


def _trained_teacher(name: str, setting: Setting, work: Path) -> Path:
    folder = work / name / TEACHER
    checkpoint = folder / "checkpoints/best.pt"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / "teacher.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # until then, another process may train it
        known = {each.teacher_sha256 for each in recorded(name) if each.arm == TEACHER}
        if not checkpoint.exists() or _sha256(checkpoint) not in known:
            spec = teacher_spec(setting)
            finished = _recording(name, TEACHER, int(spec["seed"]), spec, _Recorder(_new_folder(folder)))
            record(finished.model_copy(update={"teacher_sha256": _sha256(checkpoint)}))
    return checkpoint


def _teacher(name: str, checkpoint: Path) -> Recording:
    sha256 = _sha256(checkpoint)
    return next(each for each in recorded(name) if each.arm == TEACHER and each.teacher_sha256 == sha256)


def _recording(name: str, arm: str, seed: int, spec: dict[str, Any], recorder: _Recorder) -> Recording:
    torch.set_num_threads(1)
    finished = execute(JOB_SPEC.validate_python(spec), recorder)
    if finished.result is None:
        raise SystemExit(f"{name}, {arm}, seed {seed} {finished.outcome}: {finished.error and finished.error.message}")
    result: RunResult = finished.result
    return Recording(
        data=name,
        arm=arm,
        seed=seed,
        epochs=spec["training"]["epochs"],
        aps=recorder.aps,
        scores=result.scores,
        best_epoch=result.best_epoch or 0,
        teacher_ap=None,
        teacher_sha256=None,
        num_parameters=result.num_parameters,
        values=recorder.values,
        method=spec.get("method"),
        train_s=round(result.train_s or 0.0, 1),
        finished_on=f"{datetime.now(UTC):%Y-%m-%d}",
    )


def _new_folder(folder: Path) -> Path:
    """Remove what an interrupted run left."""
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
