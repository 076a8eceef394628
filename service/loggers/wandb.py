"""Copies runs to Weights & Biases with its package, whose mode the environment sets (WANDB_MODE=offline)."""

from pathlib import Path

import wandb

from fgd_core.spec.events import OVER
from service.loggers.base import LoggedRun, LoggerAwayError, Update

_STEP = "step"


class WandbLogger:
    """Copies to a project of W&B; the account is that of the environment (WANDB_API_KEY).

    Args:
        project: `project`, or `entity/project` for the project of a team; else it is one of the account's own entity.
        folder: where the package keeps its files.
    """

    def __init__(self, project: str, folder: Path) -> None:
        entity, _, self._project = project.rpartition("/")
        self._entity, self._folder = entity or None, folder
        self._open: dict[tuple[str, str], wandb.Run] = {}

    def write(self, update: Update) -> None:
        """Add the new points to the run, and finish it when its job is over; see `Logger.write`."""
        try:
            self._write(update)
        except (wandb.errors.CommError, wandb.errors.UsageError, TimeoutError) as cause:
            raise LoggerAwayError(f"W&B does not take the run: {cause}; the copy continues when it does") from cause

    def close(self) -> None:
        """Finish all open runs; a later start of the server resumes them."""
        while self._open:
            self._open.popitem()[1].finish()

    def _write(self, update: Update) -> None:
        is_over = update.run.state in OVER
        if not update.curves and not is_over:
            return  # Each open run costs threads and a connection, and thousands of jobs may wait in the queue.
        run = self._run(update.run)
        for curve in update.curves:
            for step, value in zip(curve.steps, curve.values, strict=True):
                run.log({_STEP: step, curve.curve: value})
        if is_over:
            self._open.pop((update.run.job_id, update.run.trial)).finish(exit_code=update.run.state != "succeeded")

    def _run(self, run: LoggedRun) -> wandb.Run:
        key = (run.job_id, run.trial)
        if key not in self._open:
            opened = self._open[key] = wandb.init(
                entity=self._entity,
                project=self._project,
                dir=self._folder,
                id="-".join(filter(None, key)),
                name=run.full_name,
                group=run.job_id if run.trial else None,
                job_type=run.kind,
                tags=[run.project],
                config=dict(run.spec),
                resume="allow",
                # A server has several runs at once.
                reinit="create_new",
            )
            # Each curve has steps of its own; the package's own step counts the calls.
            opened.define_metric("*", step_metric=_STEP)
        return self._open[key]
