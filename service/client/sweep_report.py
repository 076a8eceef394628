"""The report on a sweep, as text and tables."""

from pathlib import Path

import yaml
from rich.table import Table
from rich.text import Text

from fgd_core.errors import NotFoundError
from fgd_core.spec.sweep_effects import Effects
from fgd_core.spec.sweep_report import SweepReport
from service.client.console import output, write_file
from service.jobs.alternative_text import AlternativeTable, alternative_tables
from service.jobs.metric_text import metric_name, metric_value, standing_text, values_text

_MOST_ROWS = 10


def print_sweep_report(found: SweepReport) -> None:
    """Print the verdict, the best configurations, each choice by value, which settings mattered, and the cost."""
    console = output()
    for sentence in found.verdict:
        console.print(sentence, markup=False, highlight=False)
    if found.standings:
        console.print()
        console.print(standings_table(found))
    for each in alternative_tables(found):
        console.print()
        console.print(alternatives_table(each))
        if each.class_rows:
            console.print()
            console.print(class_table(each))
    if found.effects is not None and found.effects.dimensions:
        console.print()
        console.print(effects_table(found.effects))
        console.print(Text(f"{found.effects.basis} {found.effects.holds_for}", style="dim"))
    spent = found.spent
    cost = f"{spent.trials} trials, {spent.epochs} epochs, {spent.train_s / 60:.1f} min of training steps"
    hours = f", {spent.gpu_hours:.2f} GPU hours" if spent.gpu_hours else ""
    console.print()
    console.print(f"spent: {cost}, {spent.wall_s / 60:.1f} min in total{hours}", style="dim", highlight=False)
    if found.cost is not None:
        console.print(found.cost.sentence, style="dim", markup=False, highlight=False)
    if found.error is not None:
        console.print(Text(f"{found.name} {found.state}: {found.error.message} ({found.error.code})", style="red"))


def standings_table(found: SweepReport) -> Table:
    """Return a table with a row per configuration, best first; the winner is green."""
    objectives = found.spec.objectives
    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column("trial", justify="right")
    table.add_column("origin", no_wrap=True)
    table.add_column(metric_name(objectives[0].metric))
    for objective in objectives[1:]:
        table.add_column(metric_name(objective.metric), justify="right")
    table.add_column("values", overflow="fold")
    for standing in found.standings[:_MOST_ROWS]:
        others = [
            "–" if value is None else metric_value(objective.metric, value)
            for objective, value in zip(objectives[1:], standing.objectives[1:], strict=True)
        ]
        cells = [
            str(standing.trial),
            standing.origin,
            standing_text(standing, objectives[0]),
            *others,
            values_text(standing.values),
        ]
        table.add_row(*map(Text, cells), style="bold green" if standing.rank == 1 else "")
    return table


def alternatives_table(found: AlternativeTable) -> Table:
    """Return a table with a row for each value of a searched choice, best first."""
    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column(found.path, no_wrap=True)
    for heading in ("trials", "epochs", "best"):
        table.add_column(heading, justify="right")
    table.add_column("mean")
    table.add_column("over no distillation", overflow="fold")
    for row in found.rows:
        cells = [row.value, str(row.num_trials), str(row.epochs), row.trial, row.mean, row.gain]
        table.add_row(*map(Text, cells), style="bold green" if row.is_winner else "")
    return table


def effects_table(found: Effects) -> Table:
    """Return a table with a row for each searched setting; those that mattered are bold."""
    table = Table(box=None, header_style="dim", pad_edge=False)
    for heading in ("setting", "did it matter?", "to know more"):
        table.add_column(heading, overflow="fold")
    for row in found.dimensions:
        cells = (row.path, row.finding, row.to_know)
        table.add_row(*map(Text, cells), style="bold" if row.verdict == "mattered" else "")
    return table


def class_table(found: AlternativeTable) -> Table:
    """Return a table of AP with a row for each of the first classes, and a column for each value of the choice."""
    left_out = len(found.class_rows) - _MOST_ROWS
    caption = f"{left_out} more classes: fgd report --json or --html" if left_out > 0 else None
    table = Table(box=None, header_style="dim", pad_edge=False, caption=caption, caption_style="dim")
    table.add_column("AP of class")
    for heading in found.class_headings:
        table.add_column(Text(heading), justify="right")
    for name, values in found.class_rows[:_MOST_ROWS]:
        table.add_row(Text(name), *map(Text, values))
    return table


def write_spec(found: SweepReport, path: Path) -> None:
    """Write the best job as YAML, ready to submit.

    Raises:
        NotFoundError: no trial has a score yet.
        StorageError: the file cannot be written.
    """
    if found.recommendation is None:
        raise NotFoundError(f"sweep {found.name} has no best job yet: no trial has a score", job_id=found.job_id)
    spec = found.recommendation.spec.model_dump(mode="json")
    write_file(path, yaml.safe_dump(spec, sort_keys=False, allow_unicode=True).encode())
