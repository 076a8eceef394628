"""Renders the report of a sweep as one HTML file that opens offline."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from fgd_core.spec.charts import ReportCharts
from fgd_core.spec.sweep_report import SweepReport, TrialView
from service.jobs.alternative_text import alternative_tables
from service.jobs.metric_text import metric_name, metric_value, origin_text, standing_text, value_text
from service.reports.drawing import Chart, views
from service.reports.page import as_json, as_yaml, packed, render_charts
from service.reports.sweep_charts import labels, shown
from service.reports.sweep_progress_figures import cost, curves, front, rungs
from service.reports.sweep_space_figures import contour, importance, parallel, slices

CHARTS: Sequence[Callable[[SweepReport], Chart | None]] = (
    *(curves, cost, parallel, importance, contour, slices, front, rungs),
)
"""In the order of the page."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A cell of the table of trials."""

    text: str
    key: float | str
    """The table is sorted by it, numbers before text."""

    @property
    def packed(self) -> JsonValue:
        """The text, with the key only if the key is another one."""
        return self.text if self.key == self.text else [self.text, self.key]


def render_sweep_html(report: SweepReport) -> str:
    """Render the page."""
    ranks = {number: standing.rank for standing in report.standings for number in standing.trials}
    paths = list(dict.fromkeys(path for trial in report.trials for path in trial.values))
    spec = report.recommendation.spec if report.recommendation is not None else None
    winner = next((t for t in report.trials if report.standings and t.trial == report.standings[0].trial), None)
    charts = sweep_charts(report)
    return render_charts(
        "sweep.html",
        charts,
        styles=["report.css", "sweep.css"],
        scripts=["sweep.js"],
        labels=labels(report, charts),
        report=report,
        winner=winner,
        headings=headings(report, paths),
        rows=packed(as_json([_row(report, trial, paths, ranks) for trial in report.trials])),
        standings=[(each, standing_text(each, report.spec.objectives[0])) for each in report.standings[:10]],
        alternatives=alternative_tables(report),
        shown=lambda value: shown(report, value),
        value_text=value_text,
        origin_text=origin_text,
        metrics=[metric_name(objective.metric) for objective in report.spec.objectives],
        duration=duration,
        best_spec=as_yaml(spec) if spec is not None else "",
        sweep_spec=as_yaml(report.spec),
    )


def sweep_charts(report: SweepReport) -> list[Chart]:
    """Draw the charts that have data."""
    return [drawn for chart in CHARTS if (drawn := chart(report)) is not None]


def sweep_chart_views(report: SweepReport) -> ReportCharts:
    """Return the charts that have data, with the texts of their trials, as the API does."""
    charts = sweep_charts(report)
    return views(charts, labels=labels(report, charts))


def _row(
    report: SweepReport, trial: TrialView, paths: Sequence[str], ranks: Mapping[int, int]
) -> Mapping[str, JsonValue]:
    """Return a row of the table of trials as `sweep.js` reads it."""
    is_winner = bool(report.standings) and trial.trial == report.standings[0].trial
    return {
        "trial": trial.trial,
        "look": f"state-of-{trial.state}{' winner' if is_winner else ''}",
        "cells": [cell.packed for cell in cells(report, trial, paths, ranks=ranks)],
    }


def headings(report: SweepReport, paths: Sequence[str]) -> list[str]:
    """The headings of the table of trials."""
    metrics = [f"best {metric_name(objective.metric)}" for objective in report.spec.objectives]
    return ["trial", "rank", "origin", "state", *metrics, "at epoch", "epochs", "training", "seed", *paths]


def cells(report: SweepReport, trial: TrialView, paths: Sequence[str], *, ranks: Mapping[int, int]) -> list[Cell]:
    """The cells of a trial, one for each of `headings`.

    Args:
        ranks: trial -> rank of its configuration.
    """
    state = f"{trial.state} by a user" if trial.by_user else trial.state
    if trial.error is not None:
        state = f"{state}: {trial.error.code}"
    origin = origin_text(trial.origin)
    if trial.repeats is not None:
        origin = f"{origin} of {trial.repeats}"
    return [
        _number(trial.trial),
        _number(ranks.get(trial.trial)),
        Cell(text=origin, key=origin),
        Cell(text=state, key=state),
        *(
            _number(value, metric_value(objective.metric, value) if value is not None else None)
            for objective, value in zip(report.spec.objectives, trial.objectives, strict=True)
        ),
        _number(trial.best_epoch),
        Cell(text=f"{trial.epoch} of {trial.epochs}", key=trial.epoch),
        _number(trial.train_s, duration(trial.train_s)),
        _number(trial.seed),
        *(_value(trial.values, path) for path in paths),
    ]


def duration(seconds: float) -> str:
    """Write a duration: `2 h 05 min`, `3 min 20 s`, `7 s`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def _number(value: float | None, text: str | None = None) -> Cell:
    if value is None:
        return Cell(text="–", key="")
    return Cell(text=text if text is not None else f"{value:g}", key=value)


def _value(values: Mapping[str, JsonValue], path: str) -> Cell:
    if path not in values:
        return Cell(text="–", key="")
    value = values[path]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return Cell(text=value_text(value), key=float(value) if is_number else str(value))  # type: ignore[arg-type]
