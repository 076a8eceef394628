"""Renders the report of a sweep as one HTML file that opens offline."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import yaml
from pydantic import JsonValue

from fgd_core.spec.sweep_report import Standing, SweepReport, TrialView
from service.jobs.metric_text import metric_name, metric_value, origin_text, standing_text, value_text
from service.reports.page import PLOTLY_STYLE, in_script, plotly_js, plotly_styles, policy, template, trusted
from service.reports.sweep_charts import shown
from service.reports.sweep_figures import sweep_charts


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A cell of the table of trials."""

    text: str
    key: float | str
    """The table is sorted by it, numbers before text."""


def render_sweep_html(report: SweepReport) -> str:
    """Render the page. Its security policy forbids every request to the network."""
    drawn = sweep_charts(report)
    ranks = {number: standing.rank for standing in report.standings for number in standing.trials}
    paths = list(dict.fromkeys(path for trial in report.trials for path in trial.values))
    spec = report.recommendation.spec if report.recommendation is not None else None
    winner = next((t for t in report.trials if report.standings and t.trial == report.standings[0].trial), None)
    style, scripts = trusted("report.css") + trusted("sweep.css"), [trusted("report.js"), trusted("sweep.js")]
    return template("sweep.html").render(
        policy=policy(styles=[style, PLOTLY_STYLE], scripts=[plotly_js(), *scripts]),
        plotly_styles=plotly_styles(),
        report=report,
        winner=winner,
        headings=headings(report, paths),
        rows=[(trial, cells(report, trial, paths, ranks=ranks)) for trial in report.trials],
        standings=[(each, _mean(report, each)) for each in report.standings[:10]],
        shown=lambda value: shown(report, value),
        value_text=value_text,
        origin_text=origin_text,
        metrics=[metric_name(objective.metric) for objective in report.spec.objectives],
        duration=duration,
        charts=drawn,
        figures=in_script({chart.name: chart.figure for chart in drawn}),
        best_spec=_yaml(spec.model_dump(mode="json")) if spec is not None else "",
        sweep_spec=_yaml(report.spec.model_dump(mode="json")),
        plotly_js=plotly_js(),
        scripts=scripts,
        style=style,
    )


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


def _mean(report: SweepReport, standing: Standing) -> str:
    return standing_text(standing, report.spec.objectives[0])


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


def _yaml(spec: JsonValue) -> str:
    return yaml.safe_dump(spec, sort_keys=False, allow_unicode=True)
