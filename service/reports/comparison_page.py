"""Renders a comparison as one HTML file that opens offline."""

from datetime import datetime

from fgd_core.spec.comparison import Comparison
from service.compare.wording import group_name
from service.reports.forest import forest_charts, heading, word
from service.reports.page import render_charts


def render_comparison(comparison: Comparison, *, generated_at: datetime) -> str:
    """Render the page."""
    first, second = group_name(comparison.first), group_name(comparison.second)
    return render_charts(
        "comparison.html",
        forest_charts(comparison),
        styles=["report.css", "comparison.css"],
        title=f"{first} against {second}",
        first=first,
        second=second,
        comparison=comparison,
        generated_at=generated_at,
        heading=heading,
        word=word,
    )
