"""What the charts of a sweep are made of: axes, marks, colours."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from pydantic import JsonValue

from fgd_core.spec.search import Choice, Dimension, Integers, LogUniform
from fgd_core.spec.sweep_report import SweepReport, TrialView
from service.jobs.metric_text import metric_name, metric_value, value_text, values_text
from service.reports.figures import COLOURS, Chart

BLUE, ORANGE, GREEN, RED, PINK, SKY, GREY = COLOURS
SCALE = ((0.0, "#9AA0A6"), (0.5, "#E6A000"), (1.0, "#C63C00"))
"""From poor to good: grey steps back on white and on near-black, red comes forward on both."""
ORIGIN_COLOURS: Mapping[str, str] = {"plain": PINK, "published": GREEN}

MAX_DRAWN = 300
"""Lines that a chart can hold and still be read; the best are drawn."""

Group: TypeAlias = Literal["trained to their end", "stopped", "still running", "failed or lost"]


@dataclass(frozen=True, kw_only=True)
class SweepChart(Chart):
    alt: str
    """What it shows, in words, for those who cannot see it."""
    is_wide: bool = False
    """It takes the page's whole width."""


def group(trial: TrialView) -> Group:
    match trial.state:
        case "completed":
            return "trained to their end"
        case "stopped":
            return "stopped"
        case "failed" | "lost":
            return "failed or lost"
        case _:
            return "still running"


GROUP_MARKS: Mapping[Group, dict[str, Any]] = {
    "trained to their end": {"color": BLUE, "symbol": "circle", "size": 9},
    "stopped": {"color": GREY, "symbol": "circle-open", "size": 8},
    "still running": {"color": SKY, "symbol": "triangle-up", "size": 9},
    "failed or lost": {"color": RED, "symbol": "x", "size": 8},
}


def searched(report: SweepReport) -> list[TrialView]:
    """Trials of the search that have a value: neither baselines nor repetitions."""
    return [
        trial
        for trial in report.trials
        if trial.origin not in ("plain", "published") and trial.repeats is None and trial.objectives[0] is not None
    ]


def value_of(trial: TrialView) -> float:
    """The first objective of one of `searched`."""
    value = trial.objectives[0]
    assert value is not None
    return value


def metric(report: SweepReport) -> str:
    return metric_name(report.spec.objectives[0].metric)


def shown(report: SweepReport, value: float | None) -> str:
    return "–" if value is None else metric_value(report.spec.objectives[0].metric, value)


def label(report: SweepReport, trial: TrialView) -> str:
    """Under the pointer."""
    values = "<br>".join(values_text({path: value}) for path, value in trial.values.items())
    text = f"<b>trial {trial.trial}</b>, {trial.origin}, {trial.state} after {trial.epoch} of {trial.epochs} epochs"
    return f"{text}<br>{metric(report)} {shown(report, trial.objectives[0])}<br>{_plain(values)}"


def short(path: str) -> str:
    """The field without what leads to it: as much as an axis has room for."""
    return path.rpartition(".")[2].rstrip("_")


def best_first(report: SweepReport, trials: Sequence[TrialView]) -> list[TrialView]:
    sign = -1 if report.spec.objectives[0].direction == "maximize" else 1
    return sorted(trials, key=lambda trial: sign * value_of(trial))


def shade(share: float) -> str:
    """The colour so far along `SCALE`."""
    share = min(max(share, 0.0), 1.0)
    (low, first), (high, second) = (SCALE[0], SCALE[1]) if share <= 0.5 else (SCALE[1], SCALE[2])
    along = (share - low) / (high - low)
    parts = [
        round(int(first[at : at + 2], 16) + along * (int(second[at : at + 2], 16) - int(first[at : at + 2], 16)))
        for at in (1, 3, 5)
    ]
    return "#" + "".join(f"{part:02x}" for part in parts)


def place(dimension: Dimension, value: JsonValue) -> float | None:
    """Where in its dimension a value lies, 0 to 1 inside; None for one that it has not."""
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
    return isinstance(dimension, LogUniform) or (isinstance(dimension, Integers) and dimension.log)


def ticks(dimension: Dimension) -> list[tuple[float, str]]:
    """(place from 0 to 1, text): the choices, or the ends and the middle."""
    if isinstance(dimension, Choice):
        return [((index + 0.5) / len(dimension.values), value_text(v)) for index, v in enumerate(dimension.values)]
    low, high = float(dimension.low), float(dimension.high)
    middle = math.sqrt(low * high) if is_log(dimension) else (low + high) / 2
    return [(0.0, f"{low:.3g}"), (0.5, f"{middle:.3g}"), (1.0, f"{high:.3g}")]


def axis(dimension: Dimension, title: str, values: Sequence[JsonValue]) -> dict[str, Any]:
    """A plotly axis over the whole dimension in its own values; choices are told by `place`.

    Args:
        values: that are drawn; one outside the dimension, which a user may have asked for, widens the axis.
    """
    found: dict[str, Any] = {"title": {"text": title, "standoff": 6}}
    if isinstance(dimension, Choice):
        marks = ticks(dimension)
        texts = [_plain(text) for _, text in marks]
        return found | {"range": [0, 1], "tickvals": [at for at, _ in marks], "ticktext": texts}
    low, high = float(dimension.low), float(dimension.high)
    if is_log(dimension):
        at_ticks = _log_ticks(low, high)
        found |= {"type": "log", "tickvals": at_ticks, "ticktext": [f"{each:g}" for each in at_ticks]}
        low, high = math.log10(low), math.log10(high)
    places = [place(dimension, value) for value in values]
    if all(at is not None and 0 <= at <= 1 for at in places):
        margin = 0.04 * (high - low or 1.0)
        found["range"] = [low - margin, high + margin]
    return found


def on_axis(dimension: Dimension, value: JsonValue) -> JsonValue:
    return place(dimension, value) if isinstance(dimension, Choice) else value


def _log_ticks(low: float, high: float) -> list[float]:
    """In plain numbers: left alone, plotly writes the 2 of 0.02, 0.2 and 2 alike."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    digits = (1, 2, 5) if last - first <= 2 else (1,)
    every = max(1, round((last - first) / 5))
    return [digit * 10.0**exponent for exponent in range(first, last + 1, every) for digit in digits]


def layout(height_px: int, **changes: Any) -> dict[str, Any]:
    return {
        "height": height_px,
        "margin": {"l": 60, "r": 20, "t": 40, "b": 50},
        "hovermode": "closest",
        "legend": {"orientation": "h", "yanchor": "bottom", "y": 1.02, "xanchor": "left", "x": 0},
    } | changes


def baseline_lines(report: SweepReport, *, x: str = "paper", y: str = "y") -> list[dict[str, Any]]:
    """Dashed lines at what the baselines reached, as shapes over one panel."""
    return [
        {
            "type": "line",
            "xref": f"{x} domain" if x != "paper" else "paper",
            "yref": y,
            "x0": 0,
            "x1": 1,
            "y0": standing.objectives[0],
            "y1": standing.objectives[0],
            "line": {"color": ORIGIN_COLOURS[standing.origin], "width": 1.5, "dash": "dash"},
        }
        for standing in report.standings
        if standing.origin in ORIGIN_COLOURS
    ]


def baseline_words(report: SweepReport) -> str:
    """For captions: which dashed line is which."""
    names = {"plain": "the plain student (pink)", "published": "the published values (green)"}
    found = [names[each.origin] for each in report.standings if each.origin in names]
    return f" Dashed: {' and '.join(found)}." if found else ""


def _plain(text: str) -> str:
    """Plotly reads a few tags in its texts; what users wrote is none of them."""
    return text.replace("<br>", "\n").replace("&", "&amp;").replace("<", "&lt;").replace("\n", "<br>")
