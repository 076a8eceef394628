"""Runs a sweep on the Ray cluster: it assembles the study's driver, its executor and its files."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fgd_core.spec.events import RunEvent, RunFinished
from fgd_core.spec.jobs import JobSpec
from fgd_core.spec.kinds.distill import DistillSpec
from fgd_core.spec.kinds.sweep import SweepSpec
from fgd_core.stopping import Stopped, checking_for_stop
from workers.control_plane import retry_until_reachable
from workers.metrics.ray_metrics import SweepMetrics
from workers.remote.connection import connected
from workers.remote.imported import Imported
from workers.run_context import HttpContext
from workers.tuning.driver import Driver
from workers.tuning.trial_context import OpenSharing, Share
from workers.tuning.trial_files import ServerTrialFiles
from workers.tuning.tune_executor import TuneExecutor


def run(spec: JobSpec, context: HttpContext) -> RunFinished:
    """Run a sweep on the Ray cluster of which this process is a job."""
    assert isinstance(spec, SweepSpec)
    with checking_for_stop(context.should_stop):
        try:
            return _run(spec, context)
        except Stopped:
            # It waited for the control plane, before its first trial or after its last one.
            return RunFinished(outcome="stopped")


def _run(spec: SweepSpec, context: HttpContext) -> RunFinished:
    assignment = context.assignment
    log = retry_until_reachable(lambda: context.study(0))
    with connected(assignment.job_id):
        executor = TuneExecutor(
            Imported("fgd_core.runs", "execute"),
            spec.resources,
            name=assignment.job_id,
            max_trials=spec.concurrent_trials,
            share=_share(spec, assignment.job_id),
        )
        metrics = SweepMetrics(assignment, spec.objectives[0].metric)
        files = (
            ServerTrialFiles(context, context.server_files, job_id=assignment.job_id, number=assignment.number)
            if context.server_files is not None
            else None
        )
        return Driver(spec, context, log, files=files, observe=metrics.observe).run(executor)


@dataclass(frozen=True)
class _SharedTeacher:
    """Opens the teacher that the trials of a sweep share, in the worker that runs a trial."""

    sweep_id: str

    def __call__(self, trial: int, emit: Callable[[RunEvent], None]) -> OpenSharing:
        sharing: OpenSharing = self._teacher().source_for(trial, emit)
        return sharing

    def clear(self) -> None:
        self._teacher().clear()

    def _teacher(self) -> Any:
        return Imported("workers.tuning.shared_teacher", "SharedTeacher")(self.sweep_id)


def _share(spec: SweepSpec, sweep_id: str) -> Share | None:
    shares = spec.shared_teacher == "auto" and spec.concurrent_trials > 1 and isinstance(spec.base, DistillSpec)
    return _SharedTeacher(sweep_id) if shares else None
