"""The charts and tables of a report, for programs that draw them themselves."""

from collections.abc import Sequence

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


class StudyTable(Fact):
    """A table of a study's report."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    """The first cell of a row is its name."""
    note: str = ""
    """How to read it; empty if that is clear."""


class ReportCharts(Fact):
    """All charts of a report that have data, and the tables of its studies."""

    charts: list[ChartView]
    tables: list[StudyTable]
    """The most important first; empty if no job is a study that has its answer."""
    labels: dict[int, str]
    """Texts of trials, by the number in `customdata` of a figure's traces; for `%{text}` in their `hovertemplate`."""
