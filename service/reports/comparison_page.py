"""Renders a comparison as one HTML file that opens offline."""

from datetime import datetime

from fgd_core.spec.comparison import Comparison
from service.compare.wording import group_name
from service.reports.forest import forest_charts, heading, word
from service.reports.page import PLOTLY_STYLE, in_script, plotly_js, plotly_styles, policy, template, trusted


def render_comparison(comparison: Comparison, *, generated_at: datetime) -> str:
    """Render the page. Its security policy forbids every request to the network."""
    drawn = forest_charts(comparison)
    first, second = group_name(comparison.first), group_name(comparison.second)
    style, script = trusted("report.css") + trusted("comparison.css"), trusted("report.js")
    return template("comparison.html").render(
        policy=policy(styles=[style, PLOTLY_STYLE], scripts=[plotly_js(), script]),
        plotly_styles=plotly_styles(),
        title=f"{first} against {second}",
        first=first,
        second=second,
        comparison=comparison,
        generated_at=generated_at,
        charts=drawn,
        figures=in_script({chart.name: chart.figure for chart in drawn}),
        heading=heading,
        word=word,
        plotly_js=plotly_js(),
        script=script,
        style=style,
    )
