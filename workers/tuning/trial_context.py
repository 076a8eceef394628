"""The `RunContext` of a trial: an ordinary run that waits for a verdict after each evaluation."""

import json
from collections.abc import Callable
from typing import Protocol

from fgd_core.spec.events import EpochFinished, Evaluated, Resumed, RunEvent
from fgd_core.spec.results import Scores
from fgd_core.spec.trials import Verdict
from workers.files.folders import CHECKPOINTS, REPORT
from workers.remote.context import RemoteContext
from workers.remote.messages import Report
from workers.tuning.messages import TrialTask


class OpenSharing(Protocol):
    """A `TeacherSharing` of `fgd_core` that must be closed; this module must not load torch to name it."""

    def close(self) -> None: ...


class Share(Protocol):
    """Opens what the trials of a node share: their teacher."""

    def __call__(self, trial: int, emit: Callable[[RunEvent], None]) -> OpenSharing:
        """Open the sharing for one trial."""

    def clear(self) -> None:
        """Free this node's memory, unless a trial of another process still uses it."""


class TrialContext(RemoteContext):
    """Blocks the training after an evaluation until the driver sends a verdict.

    Args:
        share: shares the teacher with other trials; None shares nothing.
    """

    def __init__(self, task: TrialTask, share: Share | None = None) -> None:
        super().__init__(task.workspace)
        self._task = task
        self._report: Report | None = None
        self._is_report_sent = False
        self._evaluated: Report | None = None
        """The newest evaluation, until the trial asks for a verdict on it."""
        self._train_s = 0.0
        self.teacher_sharing = share(task.trial, self.emit) if share is not None else None

    @property
    def may_change(self) -> frozenset[str]:
        """Population-based training continues from another trial's checkpoint with other settings of the method."""
        return frozenset({"method"}) if self._task.segment else frozenset()

    def emit(self, event: RunEvent) -> None:
        match event:
            case EpochFinished() if event.images_per_s > 0:
                images = event.steps / event.epochs * self._task.spec.training.batch_size
                self._train_s += images / event.images_per_s
            case Evaluated(epoch=int(epoch)):
                self._evaluated = Report(epoch, event.scores, self._train_s)
                self._save_report(self._evaluated)
            case Resumed():
                # The report of this epoch may not have reached the driver, because the driver may have died. A run that
                # repeats the evaluation reports it again anyway.
                self._evaluated = None if event.awaits_evaluation else self._saved_report(event.epoch)
        super().emit(event)

    def wait_for_verdict(self) -> None:
        """Report the newest evaluation and block until the driver sends its verdict; `should_stop` then follows it."""
        report, self._evaluated = self._evaluated, None
        if report is None:
            return
        # First the files: a trial that pauses or stops here has its checkpoint stored, even if this node dies.
        self.flush_files()
        if self._is_asked_to_stop:
            return
        with self._changed:
            self._report, self._is_report_sent = report, False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._report is None)

    def close(self) -> None:
        """Free what the trial holds on its node."""
        if self.teacher_sharing is not None:
            self.teacher_sharing.close()
        super().close()

    def set_verdict(self, verdict: Verdict) -> None:
        """Unblock the run, and make it end unless the verdict is to continue."""
        with self._changed:
            self._report = None
            super().set_verdict(verdict)

    def _take_report(self) -> Report | None:
        report = None if self._is_report_sent else self._report
        self._is_report_sent = self._is_report_sent or report is not None
        return report

    def _has_update(self) -> bool:
        return super()._has_update() or (self._report is not None and not self._is_report_sent)

    def _save_report(self, report: Report) -> None:
        path = self.job_dir / CHECKPOINTS / REPORT
        path.parent.mkdir(parents=True, exist_ok=True)
        incoming = path.with_suffix(".incoming")
        incoming.write_text(json.dumps({"epoch": report.epoch, "scores": report.scores.model_dump(mode="json")}))
        incoming.replace(path)
        self._workspace.store_file(path)

    def _saved_report(self, epoch: int) -> Report | None:
        """Read the report of this epoch, which this process or an earlier one has saved; None if there is none."""
        try:
            saved = json.loads((self.job_dir / CHECKPOINTS / REPORT).read_text())
        except (OSError, ValueError):
            return None
        return Report(epoch, Scores.model_validate(saved["scores"]), 0.0) if saved["epoch"] == epoch else None
