"""Axes, marks and colours of the charts of a sweep."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from pydantic import JsonValue

from fgd_core.spec.dimensions import Choice, Dimension, Integers, LogUniform
from fgd_core.spec.sweep_report import SweepReport, TrialView
from service.jobs.metric_text import metric_name, metric_value, origin_text, value_text, values_text
from service.reports.drawing import COLOURS, Chart

BLUE, ORANGE, GREEN, RED, PINK, SKY, GREY = COLOURS
SCALE = ((0.0, "#9AA0A6"), (0.5, "#E6A000"), (1.0, "#C63C00"))
"""From poor to good: grey recedes and red stands out, on white and on near-black."""
ORIGIN_COLOURS: Mapping[str, str] = {"plain": PINK, "published": GREEN}

MAX_DRAWN = 300
"""The most lines in a chart; the best are drawn."""
MAX_MARKS = 1_000
"""The most trials with a mark in a chart."""

_LABEL = "%{text}<extra></extra>"

Group: TypeAlias = Literal["completed", "stopped", "still running", "failed or lost"]


def group(trial: TrialView) -> Group:
    """The group of a trial, by its state."""
    match trial.state:
        case "completed" | "stopped" as state:
            return state
        case "failed" | "lost":
            return "failed or lost"
        case _:
            return "still running"


GROUP_MARKS: Mapping[Group, dict[str, Any]] = {
    "completed": {"color": BLUE, "symbol": "circle", "size": 9},
    "stopped": {"color": GREY, "symbol": "circle-open", "size": 8},
    "still running": {"color": SKY, "symbol": "triangle-up", "size": 9},
    "failed or lost": {"color": RED, "symbol": "x", "size": 8},
}


def searched(report: SweepReport) -> list[TrialView]:
    """Trials of the search that have a value, without baselines and repeats."""
    return [
        trial
        for trial in report.trials
        if trial.origin not in ("plain", "published") and trial.repeats is None and trial.objectives[0] is not None
    ]


def value_of(trial: TrialView) -> float:
    """The first objective of a trial of `searched`."""
    value = trial.objectives[0]
    assert value is not None
    return value


def metric(report: SweepReport) -> str:
    """The name of the first objective."""
    return metric_name(report.spec.objectives[0].metric)


def shown(report: SweepReport, value: float | None) -> str:
    """Write a value of the first objective."""
    return "–" if value is None else metric_value(report.spec.objectives[0].metric, value)


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The trials of a chart of marks."""

    trials: Sequence[TrialView]
    """In their own order."""
    words: str
    """For the caption: which trials are left out; empty if none is."""


def sample(report: SweepReport, trials: Sequence[TrialView]) -> Sample:
    """Choose the trials that have a mark: the best ones, and of the others every k-th by their value.

    Args:
        trials: each has a value.
    """
    if len(trials) <= MAX_MARKS:
        return Sample(trials=trials, words="")
    ranked = best_first(report, trials)
    rest, room = ranked[MAX_DRAWN:], MAX_MARKS - MAX_DRAWN
    chosen = [*ranked[:MAX_DRAWN], *(rest[index * len(rest) // room] for index in range(room))]
    return Sample(
        trials=sorted(chosen, key=lambda trial: trial.trial),
        words=f" {MAX_MARKS:,} of {len(trials):,} trials are drawn: the best {MAX_DRAWN}, and evenly chosen others.",
    )


def labelled(trials: Sequence[TrialView], *, first: str = "") -> dict[str, Any]:
    """Let the page show the label of each trial under the pointer, behind `first`; `labels` has the texts."""
    return {"customdata": [trial.trial for trial in trials], "hovertemplate": f"{first}{_LABEL}"}


def labels(report: SweepReport, charts: Sequence[Chart]) -> dict[int, str]:
    """The label of each trial that a chart shows."""
    shown_trials = {
        trial
        for chart in charts
        for trace in chart.traces
        if _LABEL in trace.get("hovertemplate", "")
        for trial in trace["customdata"]
    }
    return {trial.trial: label(report, trial) for trial in report.trials if trial.trial in shown_trials}


def label(report: SweepReport, trial: TrialView) -> str:
    """The text under the pointer."""
    values = "\n".join(values_text({path: value}) for path, value in trial.values.items())
    state = f"{trial.state} after {trial.epoch} of {trial.epochs} epochs"
    text = f"trial {trial.trial}, {origin_text(trial.origin)}, {state}"
    return f"{text}\n{metric(report)} {shown(report, trial.objectives[0])}\n{values}"


def short(path: str) -> str:
    """The last part of a field path, which fits on an axis."""
    return path.rpartition(".")[2].rstrip("_")


def best_first(report: SweepReport, trials: Sequence[TrialView]) -> list[TrialView]:
    """Sort trials by the first objective, best first."""
    sign = -1 if report.spec.objectives[0].direction == "maximize" else 1
    return sorted(trials, key=lambda trial: sign * value_of(trial))


def shade(share: float) -> str:
    """The colour at `share`, 0 to 1, of `SCALE`."""
    share = min(max(share, 0.0), 1.0)
    (low, first), (high, second) = (SCALE[0], SCALE[1]) if share <= 0.5 else (SCALE[1], SCALE[2])
    along = (share - low) / (high - low)
    parts = [
        round(int(first[at : at + 2], 16) + along * (int(second[at : at + 2], 16) - int(first[at : at + 2], 16)))
        for at in (1, 3, 5)
    ]
    return "#" + "".join(f"{part:02x}" for part in parts)


def place(dimension: Dimension, value: JsonValue) -> float | None:
    """The position of a value in its dimension, 0 to 1 inside; None for a value that the dimension cannot have."""
    if isinstance(dimension, Choice):
        if value not in dimension.values:
            return None
        return (dimension.values.index(value) + 0.5) / len(dimension.values)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    low, high, at = float(dimension.low), float(dimension.high), float(value)
    if is_log(dimension):
        if at <= 0:
            return None
        low, high, at = math.log(low), math.log(high), math.log(at)
    return (at - low) / (high - low) if high > low else 0.5


def is_log(dimension: Dimension) -> bool:
    """Whether the dimension is searched on a logarithmic scale."""
    return isinstance(dimension, LogUniform) or (isinstance(dimension, Integers) and dimension.log)


def ticks(dimension: Dimension) -> list[tuple[float, str]]:
    """(position from 0 to 1, text) of the choices, or of both ends and the middle."""
    if isinstance(dimension, Choice):
        return [((index + 0.5) / len(dimension.values), value_text(v)) for index, v in enumerate(dimension.values)]
    low, high = float(dimension.low), float(dimension.high)
    middle = math.sqrt(low * high) if is_log(dimension) else (low + high) / 2
    return [(0.0, f"{low:.3g}"), (0.5, f"{middle:.3g}"), (1.0, f"{high:.3g}")]


def axis(dimension: Dimension, title: str, values: Sequence[JsonValue]) -> dict[str, Any]:
    """An axis over the whole dimension, in its own values; choices are drawn at their `place`.

    Args:
        values: the drawn values. One outside the dimension, which a user may have added, widens the axis.
    """
    found: dict[str, Any] = {"title": {"text": title}}
    if isinstance(dimension, Choice):
        marks = ticks(dimension)
        return found | {"range": [0, 1], "tickvals": [at for at, _ in marks], "ticktext": [text for _, text in marks]}
    low, high = float(dimension.low), float(dimension.high)
    if is_log(dimension):
        found |= {"type": "log"}
        low, high = math.log10(low), math.log10(high)
    places = [place(dimension, value) for value in values]
    if all(at is not None and 0 <= at <= 1 for at in places):
        margin = 0.04 * (high - low or 1.0)
        found["range"] = [low - margin, high + margin]
    return found


def on_axis(dimension: Dimension, value: JsonValue) -> JsonValue:
    """The position of a value on the axis of its dimension."""
    return place(dimension, value) if isinstance(dimension, Choice) else value


def baseline_lines(report: SweepReport, panel: str = "") -> list[dict[str, Any]]:
    """Dashed lines at the values of the baselines, as shapes over one panel: that of axes "x2" and "y2" for "2"."""
    across = {"type": "line", "xref": f"x{panel} domain", "yref": f"y{panel}", "x0": 0, "x1": 1}
    return [
        across
        | {"y0": (value := each.objectives[0]), "y1": value, "line": {"color": color, "width": 1.5, "dash": "dash"}}
        for each in report.standings
        if (color := ORIGIN_COLOURS.get(each.origin)) is not None
    ]


def baseline_words(report: SweepReport) -> str:
    """Name the dashed lines in a caption."""
    names = {"plain": "no distillation (pink)", "published": "default weights (green)"}
    found = [names[each.origin] for each in report.standings if each.origin in names]
    return f" Dashed: {' and '.join(found)}." if found else ""
