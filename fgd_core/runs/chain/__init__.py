"""Runs a chain: distillations one after another, each of which starts with the student of the one before."""

import hashlib
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

from fgd_core import confined
from fgd_core.ranks import from_first, is_first
from fgd_core.runs.chain.record import ChainRecord, FinishedStage
from fgd_core.runs.chain.stage_context import Axis, RecordedAps, StageContext
from fgd_core.runs.chain.teachers import CheckTeachers, order_teachers
from fgd_core.spec.chains import CONTROL, StageFinished, StageStarted, stage_folder
from fgd_core.spec.events import RunFinished
from fgd_core.spec.kinds.chain import ChainSpec
from fgd_core.spec.kinds.distill import DistillSpec
from fgd_core.spec.results import RunResult
from fgd_core.storage import write_atomically
from fgd_core.training.checkpoints import CHECKPOINTS, RunCheckpoints
from fgd_core.training.context import RunContext, StoresFiles

Distill: TypeAlias = Callable[[DistillSpec, RunContext], RunFinished]


class Branch(NamedTuple):
    """A distillation of the chain: a stage, or the control."""

    name: str
    spec: DistillSpec
    starts_with: str | None
    """The stage whose student it starts with; None if it starts as the spec of the chain says."""


def branches(spec: ChainSpec, order: Sequence[int]) -> list[Branch]:
    """Return the stages in the order of training, and then the control if the spec asks for one.

    Args:
        order: indices of the spec's stages.
    """
    found: list[Branch] = []
    for position, index in enumerate(order):
        before = str(position) if position else None
        weights = _source(before) if before is not None else None
        found.append(Branch(str(position + 1), spec.stage(index, position=position, weights=weights), before))
    if spec.control:
        found.append(Branch(CONTROL, spec.control_of(order[-1]), None))
    return found


def run_chain(spec: ChainSpec, context: RunContext, *, distill: Distill, check: CheckTeachers) -> RunFinished:
    """Run the stages that are not done yet, and then the control.

    Args:
        distill: runs one distillation.
        check: checks the teachers of a distillation; see `order_teachers`.
    Raises:
        WeightsError: the folder holds another chain.
        FgdError: see `fgd_core.errors`.
    """
    record = ChainRecord(spec, context)
    sharing = RecordedAps(record)
    ordered = record.state.ordered or order_teachers(spec, context, sharing, check)
    context.emit(ordered)
    record.change(ordered=ordered)
    planned = branches(spec, ordered.order)
    for position, branch in enumerate(planned):
        run = _BranchRun(record, context, sharing, planned, position)
        if not run.is_finished():
            outcome = run.distill(distill)
            if outcome.outcome != "succeeded":
                return outcome
        if branch.name == str(len(spec.stages)) and is_first():
            _publish(context, run)
    return RunFinished(outcome="succeeded", result=_result(record, len(spec.stages)))


class _BranchRun:
    """Runs one branch of a chain."""

    def __init__(
        self, record: ChainRecord, parent: RunContext, sharing: RecordedAps, planned: Sequence[Branch], position: int
    ) -> None:
        self._record, self._parent = record, parent
        self.branch, self._num_stages = planned[position], sum(each.name != CONTROL for each in planned)
        before = [record.state.finished[each.name] for each in planned[:position]]
        self.axis = Axis(
            first_epoch=sum(stage.epochs for stage in before),
            first_step=sum(stage.steps for stage in before),
            later=[each.spec.training for each in planned[position + 1 :]],
            batch_size=self.branch.spec.training.batch_size,
        )
        starts_with = self.branch.starts_with
        self.context = StageContext(
            parent=parent,
            name=self.branch.name,
            axis=self.axis,
            teacher_sharing=sharing,
            previous=(_source(starts_with), _best(parent, starts_with)) if starts_with is not None else None,
            leaves_result=self.branch.name == str(self._num_stages),
        )

    @property
    def best(self) -> Path:
        """The file of the branch's best student."""
        return _best(self._parent, self.branch.name)

    def is_finished(self) -> bool:
        """Return whether the branch is done, and its student is there as it was recorded."""
        found = self._record.state.finished.get(self.branch.name)
        return found is not None and _sha256(self.best) == found.sha256

    def distill(self, distill: Distill) -> RunFinished:
        """Run the branch; after success, record it and report its result."""
        spec = self.branch.spec
        self._parent.emit(
            StageStarted(
                stage=self.branch.name,
                num_stages=self._num_stages,
                teacher=spec.teacher.checkpoint,
                method=spec.method.type,
                epochs=spec.training.epochs,
                first_epoch=self.axis.first_epoch,
                first_step=self.axis.first_step,
            )
        )
        outcome = distill(spec, self.context)
        if outcome.outcome == "succeeded" and outcome.result is not None:
            self._finish(outcome.result)
        return outcome

    def _finish(self, result: RunResult) -> None:
        # First the files: a stage that is recorded as done has its student stored, even if this machine dies.
        if isinstance(self._parent, StoresFiles):
            self._parent.flush_files()
        if result.best_epoch is not None:
            result = result.model_copy(update={"best_epoch": self.axis.first_epoch + result.best_epoch})
        finished = FinishedStage(
            epochs=self.branch.spec.training.epochs,
            steps=self.context.steps,
            sha256=_sha256(self.best) or "",
            result=result,
        )
        self._record.change(finished={**self._record.state.finished, self.branch.name: finished})
        self._parent.emit(StageFinished(stage=self.branch.name, result=result))


def _publish(context: RunContext, run: _BranchRun) -> None:
    """Make the student of the last stage the chain's own best checkpoint, before the control begins."""
    checkpoints = RunCheckpoints(context.job_dir / CHECKPOINTS)
    with confined.opened(run.best) as source:
        write_atomically(checkpoints.best, lambda file: shutil.copyfileobj(source, file))
    saved = checkpoints.inherited_best()
    assert saved is not None, "the file was just written"
    place = {"epoch": run.axis.first_epoch + saved.epoch, "step": run.axis.first_step + saved.step}
    context.emit(saved.model_copy(update=place))


def _result(record: ChainRecord, num_stages: int) -> RunResult:
    """Return the result of the last stage, with the training time of all stages."""
    results = [record.state.finished[str(number)].result for number in range(1, num_stages + 1)]
    train_s = sum(result.train_s or 0.0 for result in results)
    return results[-1].model_copy(update={"train_s": train_s})


def _source(stage: str) -> str:
    """Return the name of a stage's student in the spec of the next stage."""
    return f"stage:{stage}/best"


def _best(context: RunContext, stage: str) -> Path:
    return RunCheckpoints(context.job_dir / stage_folder(stage) / CHECKPOINTS).best


def _sha256(path: Path) -> str | None:
    """Return the digest of a file of rank 0; None if there is none."""
    return from_first(lambda: _own_sha256(path))


def _own_sha256(path: Path) -> str | None:
    try:
        with confined.opened(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
