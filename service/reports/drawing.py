"""Parts of charts, as plotly figures: {data, layout} in JSON.

They are plain values, which plotly.js draws in the reader's browser. So the control plane imports no plotting library,
and the reader can zoom and read each point.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

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

    @property
    def figure(self) -> dict[str, Any]:
        """The figure that plotly.js draws."""
        return {"data": list(self.traces), "layout": self.layout}

    @property
    def height_px(self) -> int:
        """The height of the figure."""
        return int(self.layout["height"])


def layout(height_px: int, **changes: Any) -> dict[str, Any]:
    """The layout that all charts share."""
    return {
        "height": height_px,
        "margin": {"l": 60, "r": 20, "t": 40, "b": 50},
        "hovermode": "closest",
        "legend": {"orientation": "h", "yanchor": "bottom", "y": 1.02, "xanchor": "left", "x": 0},
    } | changes


def x_title(text: str) -> dict[str, Any]:
    """The title of an x axis."""
    return {"title": {"text": text, "standoff": 8}}


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
        y_axis |= {"type": "log", **_log_ticks([value for trace in traces for value in trace["y"] if value])}
    if y_from_zero:
        y_axis |= {"rangemode": "tozero"}
    axes = layout(height_px, xaxis=x_title(x), yaxis=y_axis)
    return Chart(name=name, title=title, caption=caption, traces=traces, layout=axes)


def _log_ticks(values: Sequence[float]) -> dict[str, Any]:
    """Ticks as plain numbers. By default plotly writes 0.02, 0.2 and 2 all as "2"."""
    if not values or min(values) <= 0:
        return {}
    first, last = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    digits = (1, 2, 5) if last - first <= 3 else (1,)
    ticks = [digit * 10.0**exponent for exponent in range(first, last + 1) for digit in digits]
    return {"tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}
