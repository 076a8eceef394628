"""The `RunContext` of a stage: an ordinary distillation, whose events continue those of the stages before."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import JsonValue

from fgd_core.data.loading import ComingBatches
from fgd_core.ranks import from_first
from fgd_core.runs.chain.record import ChainRecord
from fgd_core.spec.chains import stage_folder
from fgd_core.spec.checkpoint_references import checkpoint_artifact
from fgd_core.spec.events import (
    ArtifactSaved,
    CheckpointSaved,
    Diagnosed,
    EndedEarly,
    EpochFinished,
    Evaluated,
    MetricsLogged,
    Progress,
    Resumed,
    RunEvent,
)
from fgd_core.spec.training import TrainingSpec
from fgd_core.training.checkpoints import CHECKPOINTS
from fgd_core.training.context import RunContext, StoresFiles
from fgd_core.training.teacher_maps import OwnTeacher, TeacherMaps


@dataclass(frozen=True, kw_only=True)
class Axis:
    """Where a stage lies on the chain's axis of epochs and steps."""

    first_epoch: int = 0
    """Number of epochs before the stage."""
    first_step: int = 0
    """Number of steps before the stage."""
    later: Sequence[TrainingSpec] = ()
    """The trainings after the stage."""
    batch_size: int = 1
    """Of the stage."""

    @property
    def later_epochs(self) -> int:
        """Number of epochs after the stage."""
        return sum(training.epochs for training in self.later)

    def later_steps(self, steps_per_epoch: int) -> int:
        """Return the number of steps after the stage; an estimate if batch sizes differ.

        Args:
            steps_per_epoch: of the stage.
        """
        images = steps_per_epoch * self.batch_size
        return sum(training.epochs * max(1, images // training.batch_size) for training in self.later)


@dataclass
class StageContext:
    """Runs a stage in its own folder, and reports its events on the chain's axis."""

    parent: RunContext
    name: str
    """Name of the stage."""
    axis: Axis
    teacher_sharing: "RecordedAps"
    previous: tuple[str, Path] | None = None
    """The checkpoint with which the student starts: its name in the stage's spec, and its file."""
    leaves_result: bool = False
    """Whether this is the last stage: its pictures and comparison data are those of the job."""
    steps: int = field(default=0, init=False)
    """Number of steps of the whole stage, once its training has reported it."""
    _step_s: float = field(default=0.0, init=False)
    """Newest estimate of the seconds per step, evaluations included."""

    @property
    def job_dir(self) -> Path:
        """The folder of the stage."""
        return self.parent.job_dir / stage_folder(self.name)

    def should_stop(self) -> bool:
        """Return whether the chain should stop."""
        return self.parent.should_stop()

    def resolve_checkpoint(self, source: str) -> Path:
        """Return the file of a checkpoint, also of the student that the stage before has trained."""
        if self.previous is not None and source == self.previous[0]:
            return self.previous[1]
        return self.parent.resolve_checkpoint(source)

    def emit(self, event: RunEvent) -> None:
        """Report an event of the stage as one of the chain."""
        match event:
            case Progress() | EpochFinished():
                self.steps = event.steps
                self.parent.emit(self._on_axis(event))
            case MetricsLogged():
                steps = [self.axis.first_step + step for step in event.steps]
                self.parent.emit(event.model_copy(update={"steps": steps}))
            case Evaluated(epoch=int(epoch), step=int(step)):
                self.parent.emit(event.model_copy(update=self._place(epoch, step)))
            case EndedEarly():
                self.parent.emit(event.model_copy(update=self._place(event.epoch, event.step)))
            case Resumed():
                # If all epochs were done before, no other event tells their number.
                self.steps = max(self.steps, event.step)
                place = self._place(event.epoch, event.step)
                checkpoint = f"{stage_folder(self.name)}/{event.checkpoint}"
                self.parent.emit(event.model_copy(update={**place, "checkpoint": checkpoint}))
            case CheckpointSaved(name="last"):
                self._store_last()
            case CheckpointSaved():
                self.parent.emit(self._as_artifact(event))
            case Diagnosed() if not self.leaves_result:
                pass  # The diagnosis of a chain is that of its last student.
            case ArtifactSaved() if not self.leaves_result:
                self.parent.emit(event.model_copy(update={"name": f"{stage_folder(self.name)}/{event.name}"}))
            case _:
                self.parent.emit(event)

    def _on_axis(self, event: Progress | EpochFinished) -> Progress | EpochFinished:
        later_steps = self.axis.later_steps(event.steps // event.epochs)
        if event.eta_s is not None and event.steps > event.step:
            self._step_s = event.eta_s / (event.steps - event.step)
        update: dict[str, float | None] = {
            **self._place(event.epoch, event.step),
            "epochs": self.axis.first_epoch + event.epochs + self.axis.later_epochs,
            "steps": self.axis.first_step + event.steps + later_steps,
            "eta_s": None if event.eta_s is None else event.eta_s + later_steps * self._step_s,
        }
        return event.model_copy(update=update)

    def _place(self, epoch: int, step: int) -> dict[str, int]:
        return {"epoch": self.axis.first_epoch + epoch, "step": self.axis.first_step + step}

    def _store_last(self) -> None:
        """Store `last.pt` without an event: it is of use to this stage alone."""
        if isinstance(self.parent, StoresFiles):
            self.parent.store_file(self.job_dir / CHECKPOINTS / checkpoint_artifact("last"))

    def _as_artifact(self, event: CheckpointSaved) -> ArtifactSaved:
        return ArtifactSaved(
            # The job's own `best.pt` is the student of the last stage, which the chain reports itself.
            name=f"{stage_folder(self.name)}/{checkpoint_artifact(event.name)}",
            uri=event.uri,
            media_type="application/octet-stream",
            sha256=event.sha256,
            size_bytes=event.size_bytes,
        )


@dataclass(frozen=True)
class RecordedAps:
    """A `TeacherSharing` that measures the AP of each teacher once in a chain, over all stages and attempts."""

    record: ChainRecord

    def ap(self, key: str, measure: Callable[[], JsonValue]) -> JsonValue:
        """Return the recorded AP, or measure and record it."""
        known, recorded = self.record.state.teacher_aps, from_first(lambda: key)  # ranks may be on unlike machines
        if recorded not in known:
            self.record.change(teacher_aps={**known, recorded: measure()})
        return self.record.state.teacher_aps[recorded]

    def maps(self, key: str, own: OwnTeacher, batches: ComingBatches, *, num_batches: int | None = None) -> TeacherMaps:
        """Return the teacher itself: stages have other teachers and run one after another."""
        return own
