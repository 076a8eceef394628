"""The report on a sweep, as text and tables."""

from pathlib import Path

import yaml
from rich.table import Table
from rich.text import Text

from fgd_core.errors import NotFoundError
from fgd_core.spec.sweep_report import SweepReport
from service.client.console import output, write_file
from service.jobs.metric_text import metric_name, metric_value, standing_text, values_text

_MOST_ROWS = 10


def print_sweep_report(found: SweepReport) -> None:
    """Print the verdict, the best configurations, and the cost of the sweep."""
    console = output()
    for sentence in found.verdict:
        console.print(sentence, markup=False, highlight=False)
    if found.standings:
        console.print()
        console.print(standings_table(found))
    spent = found.spent
    cost = f"{spent.trials} trials, {spent.epochs} epochs, {spent.train_s / 60:.1f} min of training steps"
    hours = f", {spent.gpu_hours:.2f} GPU hours" if spent.gpu_hours else ""
    console.print()
    console.print(f"spent: {cost}, {spent.wall_s / 60:.1f} min in total{hours}", style="dim", highlight=False)
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
