"""The charts of a report, for programs that draw them themselves."""

from pydantic import JsonValue

from fgd_core.spec.base import Fact


class ChartView(Fact):
    """A chart: its texts, and a figure in a small part of plotly's format."""

    name: str
    title: str
    caption: str
    """How to read it."""
    alt: str
    """The content as text, for readers who cannot see the chart."""
    is_wide: bool
    """Whether it has several panels, and needs the whole width of a page."""
    figure: dict[str, JsonValue]
    """`data` and `layout`."""


class ReportCharts(Fact):
    """All charts of a report that have data."""

    charts: list[ChartView]
    labels: dict[int, str]
    """Texts of trials, by the number in `customdata` of a figure's traces; for `%{text}` in their `hovertemplate`."""
