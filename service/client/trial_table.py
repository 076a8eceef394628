"""Trials as a table, best first."""

from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from fgd_core.spec.event_text import duration, number, values_text
from fgd_core.spec.search import Objective
from fgd_core.spec.sweep_report import TrialView
from service.client.fitting import Cell, Column, Row, fitted
from service.client.sweep_status import SweepStatus

STYLES: Mapping[str, str] = {
    "running": "bold cyan",
    "completed": "green",
    "stopped": "bright_black",
    "paused": "blue",
    "failed": "red",
    "lost": "yellow",
}


def ranked(trials: Sequence[TrialView], objective: Objective) -> list[TrialView]:
    """Return the trials, best first; trials without a score are last, by number."""
    sign = -1 if objective.direction == "maximize" else 1

    def place(trial: TrialView) -> tuple[bool, float, int]:
        value = best(trial)
        return value is None, sign * (value or 0.0), trial.trial

    return sorted(trials, key=place)


def best(trial: TrialView) -> float | None:
    """Return the best value of the first objective; None without a score."""
    return trial.objectives[0] if trial.objectives else None


def trial_table(
    trials: Sequence[TrialView], objectives: Sequence[Objective], *, width: int, max_rows: int | None = None
) -> Group:
    """Return a table with a row per trial: its origin, progress, scores and values.

    Args:
        width: of the terminal, in columns; a narrow table cuts the values and omits the rung and the newest score.
        max_rows: show only the best trials, and the number of the others below; default: all.
    """
    first, *others = objectives
    order = ranked(trials, first)
    shown = order if max_rows is None else order[: max(1, max_rows)]
    columns = (
        Column("trial", is_number=True),
        Column("origin", narrow=8),
        Column("state"),
        Column("epoch", is_number=True),
        Column("rung", is_number=True, rank=2),
        Column("now", is_number=True, rank=1),
        Column(first.metric, is_number=True),
        *(Column(other.metric, is_number=True) for other in others),
        Column("values", narrow=16),
    )
    rows = []
    for trial in shown:
        # A stopped trial is less important than the others.
        style = STYLES["stopped"] if trial.state == "stopped" else ""
        newest = trial.reports[-1] if trial.reports else None
        cells: tuple[Cell, ...] = (
            str(trial.trial),
            _origin(trial),
            Text(trial.state, style=STYLES.get(trial.state, "")),
            f"{trial.epoch}/{trial.epochs}",
            _rung(trial),
            number(newest.objectives[0] if newest is not None else None, ".3f"),
            Text(number(best(trial), ".3f"), style="" if style else "bold"),
            *(number(value, ".4g") for value in _others(trial, len(others))),
            values_text(trial.values),
        )
        rows.append(Row(cells=cells, style=style))
    more = [Text(f"and {len(order) - len(shown)} more", style="dim")] if len(shown) < len(order) else []
    return Group(fitted(columns, rows, width=width), *more)


def _others(trial: TrialView, count: int) -> Sequence[float | None]:
    """Return the values of the second and later objectives, one per column."""
    found = list(trial.objectives[1 : count + 1])
    return [*found, *[None] * (count - len(found))]


def _origin(trial: TrialView) -> str:
    return f"{trial.origin} of {trial.repeats}" if trial.repeats is not None else trial.origin


def _rung(trial: TrialView) -> str:
    rungs = [report.rung for report in trial.reports if report.rung is not None]
    return str(max(rungs)) if rungs else ""


def sweep_view(sweep: SweepStatus, *, width: int, max_rows: int) -> RenderableType:
    """Return the live view of a sweep: its progress in one line, and its trials."""
    first = sweep.objectives[0]
    running = sum(trial.state == "running" for trial in sweep.trials)
    of_trial = f" (trial {sweep.best_trial})" if sweep.best_trial is not None else ""
    progress = sweep.progress
    parts = [
        f"{progress.step or 0}/{progress.steps or '?'} trials",
        f"{running} running",
        f"best {first.metric} {number(progress.best_ap, '.3f')}{of_trial}",
        *([f"{duration(progress.eta_s)} left"] if progress.eta_s is not None and not sweep.is_over else []),
    ]
    head = Text.assemble((sweep.name, "bold"), f": {' · '.join(parts)}")
    if not sweep.trials:
        return head
    return Group("", head, trial_table(sweep.trials, sweep.objectives, width=width, max_rows=max_rows))
