"""The values of a searched choice side by side, as the page and the command line show them."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from fgd_core.spec.sweep_report import Alternative, Alternatives, Margin, Standing, SweepReport
from service.jobs.metric_text import signed_value, standing_text, values_text

_NONE = "–"
_WHY_UNKNOWN = {
    "pending": "the sweep still runs",
    "chosen_by_it": "not repeated with fresh seeds",
    "few_seeds": "too few seeds",
    "no_spread": "no spread over seeds",
}


class AlternativeRow(NamedTuple):
    """One value of the choice, with its best configuration."""

    value: str
    num_trials: int
    epochs: int
    trial: str
    settings: str
    """The other values of the configuration."""
    mean: str
    gain: str
    """Over no distillation, with its interval."""
    is_winner: bool


class AlternativeTable(NamedTuple):
    """A searched choice: a row for each value, and AP of each class."""

    path: str
    rows: list[AlternativeRow]
    class_headings: list[str]
    class_rows: list[tuple[str, list[str]]]
    """For each class its AP in the columns of `class_headings`; empty if no trial is complete."""


def alternative_tables(report: SweepReport) -> list[AlternativeTable]:
    """Write the tables of all searched choices among names, without those of which no trial has a value."""
    return [_table(each, report) for each in report.alternatives if any(row.best is not None for row in each.rows)]


def gain_text(gain: Margin | None, metric: str) -> str:
    """Write a difference with its interval and what it proves: `+0.021 (+0.004 to +0.038), clear`."""
    if gain is None:
        return _NONE
    measured = signed_value(metric, gain.measured)
    if gain.why_unknown is not None:
        return f"{measured}, unknown: {_WHY_UNKNOWN[gain.why_unknown]}"
    interval = ""
    if gain.interval is not None:
        interval = f" ({signed_value(metric, gain.interval.low)} to {signed_value(metric, gain.interval.high)})"
    return f"{measured}{interval}, {gain.verdict.replace('_', ' the ')}"


def _table(found: Alternatives, report: SweepReport) -> AlternativeTable:
    by_trial = {standing.trial: standing for standing in report.standings}
    columns = [(row.value, row.class_ap) for row in found.rows if row.class_ap]
    if found.plain_class_ap:
        columns.append(("no distillation", found.plain_class_ap))
    return AlternativeTable(
        path=found.path,
        rows=[_row(row, found.path, by_trial, report) for row in found.rows],
        class_headings=[heading for heading, _ in columns],
        class_rows=_class_rows([values for _, values in columns]),
    )


def _row(row: Alternative, path: str, by_trial: Mapping[int, Standing], report: SweepReport) -> AlternativeRow:
    best = by_trial.get(row.best) if row.best is not None else None
    objective = report.spec.objectives[0]
    settings = {name: value for name, value in best.values.items() if name != path} if best is not None else {}
    return AlternativeRow(
        value=row.value,
        num_trials=row.num_trials,
        epochs=row.epochs,
        trial=str(row.best) if best is not None else _NONE,
        settings=values_text(settings) if settings else _NONE,
        mean=standing_text(best, objective) if best is not None else _NONE,
        gain=gain_text(row.gain, objective.metric),
        is_winner=best is not None and best.rank == 1,
    )


def _class_rows(columns: Iterable[Mapping[str, float | None]]) -> list[tuple[str, list[str]]]:
    columns = list(columns)
    names = dict.fromkeys(name for column in columns for name in column)
    return [(name, [_ap(column.get(name)) for column in columns]) for name in names]


def _ap(value: float | None) -> str:
    return _NONE if value is None else f"{value:.3f}"
