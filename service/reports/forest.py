"""Forest plots of a comparison: sorted differences with their intervals, coloured by verdict."""

from collections.abc import Sequence
from typing import NamedTuple

from fgd_core.spec.comparison import Change, Comparison, Finding
from service.reports.drawing import COLOURS, Chart, Trace, layout, markers, x_title

# Shapes differ, too, for colour-blind readers and for paper.
_LOOKS: tuple[tuple[Finding, str, str], ...] = (
    ("gained", COLOURS[2], "triangle-right"),
    ("lost", COLOURS[3], "triangle-left"),
    ("noise", COLOURS[6], "circle"),
    ("too_little_data", COLOURS[6], "circle-open"),
)
_HEADINGS = {"ap": "AP", "ap50": "AP50", "ap75": "AP75"} | {
    f"ap_{size}": f"AP {size}" for size in ("small", "medium", "large")
}


class Row(NamedTuple):
    """A line of a forest plot."""

    label: str
    difference: Change
    detail: str


def heading(score: str) -> str:
    """The heading of a score."""
    return _HEADINGS[score]


def word(finding: Finding) -> str:
    """The verdict as text."""
    return finding.replace("_", " ")


def forest_charts(comparison: Comparison) -> list[Chart]:
    """Draw the differences of all scores, of each class, and of each class relative to the AP; omit empty charts."""
    whole = [
        Row(heading(row.score), row.change, f"{row.first:.3f} to {row.second:.3f}")
        for row in comparison.scores
        if row.change is not None
    ]
    classes = [
        Row(row.name, row.change, f"{row.first:.3f} to {row.second:.3f}, {row.num_boxes} boxes")
        for row in comparison.classes
        if row.change is not None
    ]
    beyond = [
        Row(row.name, row.beyond_overall, f"{row.num_boxes} boxes")
        for row in comparison.classes
        if row.beyond_overall is not None
    ]
    confidence = f"Lines are {comparison.confidence:.0%} intervals, not adjusted for their number."
    adjusted = "Colours show p adjusted for the number of classes, so an interval without zero may still be noise."
    drawn = [
        forest("forest-scores", "All scores", confidence, whole, x="difference in AP"),
        forest("forest-classes", "Per class", f"{confidence} {adjusted}", _sorted(classes), x="difference in AP"),
        forest(
            "forest-beyond",
            "Per class, relative to AP",
            "The difference of a class minus the difference of the AP: away from zero, the class changed differently.",
            _sorted(beyond),
            x="difference of the class minus difference of the AP",
        ),
    ]
    return [chart for chart in drawn if chart is not None]


def _sorted(rows: Sequence[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: row.difference.value, reverse=True)


def forest(name: str, title: str, caption: str, rows: Sequence[Row], *, x: str) -> Chart | None:
    """Draw differences with their intervals, one below the other; None if there are none."""
    if not rows:
        return None
    traces = [_trace(colour, symbol, rows, finding) for finding, colour, symbol in _LOOKS]
    axes = layout(
        120 + 22 * len(rows),
        xaxis=x_title(x) | {"zeroline": True, "zerolinewidth": 2, "rangemode": "tozero"},
        # Rows are drawn by position and named by ticks; two classes with the same name would share a row otherwise.
        yaxis={
            "tickvals": list(range(len(rows))),
            "ticktext": [row.label for row in rows],
            "range": [len(rows) - 0.5, -0.5],
        },
    )
    drawn = [trace for trace in traces if trace["y"]]
    return Chart(name=name, title=title, caption=caption, traces=drawn, layout=axes)


def _trace(colour: str, symbol: str, rows: Sequence[Row], finding: Finding) -> Trace:
    shown = [(place, row) for place, row in enumerate(rows) if row.difference.finding == finding]
    low = [_reach(row.difference.value, row.difference.low) for _, row in shown]
    high = [_reach(row.difference.value, row.difference.high) for _, row in shown]
    ends = {"array": high, "arrayminus": low, "visible": finding != "too_little_data"}
    return markers(
        word(finding),
        [row.difference.value for _, row in shown],
        [place for place, _ in shown],
        error_x={"type": "data", "symmetric": False, "width": 3, "thickness": 1.5} | ends,
        marker={"color": colour, "symbol": symbol, "size": 9},
        customdata=[[row.label, _detail(row)] for _, row in shown],
        hovertemplate="%{customdata[0]}: %{x:+.3f}<br>%{customdata[1]}<extra>%{fullData.name}</extra>",
    )


def _reach(value: float, end: float | None) -> float:
    return abs(end - value) if end is not None else 0.0


def _detail(row: Row) -> str:
    of = row.difference
    if of.low is None or of.high is None or of.p is None:
        return row.detail
    return f"{of.low:+.3f} to {of.high:+.3f}, p = {of.p:.2g}; {row.detail}"
