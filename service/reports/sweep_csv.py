"""Renders a sweep as a table for spreadsheets: one row per trial, its values as columns."""

import json
from collections.abc import Mapping

from pydantic import JsonValue

from fgd_core.spec.sweep_report import SweepReport, TrialView
from service.reports.csv import as_csv


def render_sweep_csv(report: SweepReport) -> str:
    """Render RFC 4180 with a header, also before the first trial. Unknown values are empty.

    `rank` is the rank of the trial's configuration; `value/<field>` are its values, `best/<metric>` its objectives.
    """
    paths = list(dict.fromkeys(path for trial in report.trials for path in trial.values))
    metrics = [objective.metric for objective in report.spec.objectives]
    ranks = {trial: standing.rank for standing in report.standings for trial in standing.trials}
    rows = [_row(trial, paths, metrics, ranks) for trial in report.trials]
    return as_csv(rows) if rows else "trial\r\n"


def _row(trial: TrialView, paths: list[str], metrics: list[str], ranks: Mapping[int, int]) -> dict[str, object]:
    return {
        "trial": trial.trial,
        "rank": ranks.get(trial.trial),
        "origin": trial.origin,
        "state": trial.state,
        "by_user": trial.by_user,
        "repeats": trial.repeats,
        "seed": trial.seed,
        **{f"value/{path}": _plain(trial.values.get(path)) for path in paths},
        **{f"best/{metric}": value for metric, value in zip(metrics, trial.objectives, strict=True)},
        "best_epoch": trial.best_epoch,
        "epoch": trial.epoch,
        "epochs": trial.epochs,
        "epochs_trained": trial.epochs_trained,
        "segments": len(trial.segments),
        "train_s": trial.train_s,
        "busy_s": trial.busy_s,
        "num_parameters": trial.result.num_parameters if trial.result else None,
        "images_per_s": trial.result.images_per_s if trial.result else None,
        "error": trial.error.code if trial.error else None,
        "checkpoint": trial.checkpoint,
    }


def _plain(value: JsonValue) -> object:
    return json.dumps(value) if isinstance(value, list | dict) else value
