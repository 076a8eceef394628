"""Parts of charts, as figures: {data, layout} in JSON, a small part of plotly's format.

They are plain values, which `ui/figure.js` of the live page draws in the reader's browser, in a report as well. So the
control plane imports no plotting library, and the reader can zoom and read each point. The element knows: lines, marks,
steps, stacks, texts, intervals along x, bars, heat maps and contours; several panels, logarithmic axes and names;
horizontal and vertical lines, annotations and a colour bar.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from fgd_core.spec.charts import ChartView, ReportCharts, StudyTable

# The colours of Okabe and Ito, which colour-blind people can distinguish; each is legible on white and near-black.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#8C8C8C")

Trace: TypeAlias = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A chart of a page."""

    name: str
    """Id of the HTML element."""
    title: str
    caption: str
    traces: Sequence[Trace]
    layout: dict[str, Any]
    """As `layout` makes it."""
    alt: str = ""
    """The content as text, for readers who cannot see the chart; empty: its title."""
    is_wide: bool = False
    """Whether it takes the whole width of the page."""

    @property
    def figure(self) -> dict[str, Any]:
        """The figure that the element `fgd-figure` draws."""
        return {"data": list(self.traces), "layout": self.layout}


def views(
    charts: Sequence[Chart], *, labels: Mapping[int, str] | None = None, tables: Sequence[StudyTable] = ()
) -> ReportCharts:
    """Return charts and tables as the API does.

    Args:
        labels: texts under the pointer, by the values in `customdata` of traces that have no text of their own.
    """
    found = [
        ChartView(
            name=chart.name,
            title=chart.title,
            caption=chart.caption,
            alt=chart.alt or chart.title,
            is_wide=chart.is_wide,
            figure=chart.figure,
        )
        for chart in charts
    ]
    return ReportCharts(charts=found, tables=list(tables), labels=dict(labels or {}))


def layout(height_px: int, **changes: Any) -> dict[str, Any]:
    """The layout of a chart. Its texts find their own room, so it has no margins."""
    return {"height": height_px} | changes


def x_title(text: str) -> dict[str, Any]:
    """The title of an x axis."""
    return {"title": {"text": text}}


def markers(name: str, x: Sequence[Any], y: Sequence[Any], **more: Any) -> Trace:
    """A trace of separate points."""
    return {"type": "scatter", "mode": "markers", "name": name, "x": x, "y": y} | more


def colour(index: int) -> str:
    """The colour of the job at this index."""
    return COLOURS[index % len(COLOURS)]


def line(
    name: str, points: Sequence[tuple[float, float | None]], color: str, *, dash: str = "solid", mode: str = "lines"
) -> Trace:
    """A trace that connects points; a single point is a mark."""
    return markers(
        name,
        [x for x, _ in points],
        [y for _, y in points],
        mode=mode if len(points) > 1 else "markers",
        line={"color": color, "dash": dash, "width": 2},
        hovertemplate="%{y:.4g} at %{x:.3~g}<extra>%{fullData.name}</extra>",
    )


def chart_of(
    name: str,
    title: str,
    caption: str,
    traces: Sequence[Trace],
    *,
    x: str,
    y: str,
    log_y: bool = False,
    y_from_zero: bool = False,
    height_px: int = 360,
) -> Chart | None:
    """A chart with titles of its axes; None without traces."""
    if not traces:
        return None
    y_axis: dict[str, Any] = {"title": {"text": y}}
    if log_y:
        y_axis |= {"type": "log"}
    if y_from_zero:
        y_axis |= {"rangemode": "tozero"}
    axes = layout(height_px, xaxis=x_title(x), yaxis=y_axis)
    return Chart(name=name, title=title, caption=caption, traces=traces, layout=axes)
