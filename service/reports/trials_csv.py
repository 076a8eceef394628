"""Renders the trials of a sweep as a table whose columns have the names that Ray Tune gives them."""

import json
from collections.abc import Sequence
from datetime import UTC

from pydantic import JsonValue

from fgd_core.spec.search import Objective
from fgd_core.spec.sweep_report import TrialView
from service.reports.csv import as_csv


def render_trials_csv(job_id: str, trials: Sequence[TrialView], objectives: Sequence[Objective]) -> str:
    """Render RFC 4180: one row per trial with its newest result, as `ResultGrid.get_dataframe` of Ray Tune has it.

    `training_iteration` is the epoch, `config/<path>` a value that differs from the base. Times are in seconds and in
    UTC. Unknown values are empty. The columns that Tune does not have are last.
    """
    paths = list(dict.fromkeys(path for trial in trials for segment in trial.segments for path in segment.values))
    rows = [_row(job_id, trial, objectives, paths) for trial in trials]
    return as_csv(rows) if rows else "trial_id\r\n"


def _row(job_id: str, trial: TrialView, objectives: Sequence[Objective], paths: Sequence[str]) -> dict[str, object]:
    last, before = (*trial.reports[:-3:-1], None, None)[:2]
    reached = last.objectives if last is not None else [None] * len(objectives)
    values = trial.segments[-1].values if trial.segments else trial.values
    return {
        **{objective.metric: value for objective, value in zip(objectives, reached, strict=True)},
        "timestamp": int(last.at.timestamp()) if last is not None else None,
        "done": trial.state not in ("running", "paused"),
        "training_iteration": last.epoch if last is not None else 0,
        "trial_id": f"{job_id}_{trial.trial:05}",
        "date": last.at.astimezone(UTC).strftime("%Y-%m-%d_%H-%M-%S") if last is not None else None,
        "time_this_iter_s": last.train_s - (before.train_s if before is not None else 0.0)
        if last is not None
        else None,
        "time_total_s": last.train_s if last is not None else 0.0,
        **{f"config/{path}": _plain(values.get(path)) for path in paths},
        "state": trial.state,
        "origin": trial.origin,
        "seed": trial.seed,
    }


def _plain(value: JsonValue) -> object:
    return json.dumps(value) if isinstance(value, list | dict) else value
