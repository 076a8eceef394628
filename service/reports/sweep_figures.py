"""The table of charts in a sweep's report."""

from collections.abc import Callable

from fgd_core.spec.sweep_report import SweepReport
from service.reports.sweep_charts import SweepChart
from service.reports.sweep_progress_figures import cost, curves, front, rungs
from service.reports.sweep_space_figures import contour, importance, parallel, slices

CHARTS: tuple[Callable[[SweepReport], SweepChart | None], ...] = (
    *(curves, cost),
    *(parallel, importance, contour),
    *(slices, front, rungs),
)


def sweep_charts(report: SweepReport) -> list[SweepChart]:
    """Draw the charts that have data, in the order of the page."""
    found = [chart(report) for chart in CHARTS]
    return [chart for chart in found if chart is not None]
