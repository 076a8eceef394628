"""Renders a report as one HTML file, with charts and images, that opens offline."""

import base64
from collections.abc import Mapping

import yaml

from fgd_core.spec.report import JobReport, Report
from service.reports.comparison import best_in_column, best_scores, columns_for, conclusions, role, speed_ratio
from service.reports.figures import charts, colour
from service.reports.page import PLOTLY_STYLE, in_script, plotly_js, plotly_styles, policy, template, trusted


def render_html(report: Report, images: Mapping[str, bytes]) -> str:
    """Render the page. Its security policy forbids every request to the network.

    Args:
        images: PNG of sample detections by job id; a job may have none.
    """
    drawn, columns = charts(report), columns_for(report.jobs)
    style, script = trusted("report.css"), trusted("report.js")
    return template("report.html").render(
        policy=policy(styles=[style, PLOTLY_STYLE], scripts=[plotly_js(), script]),
        plotly_styles=plotly_styles(),
        title=" · ".join(job.name for job in report.jobs),
        report=report,
        columns=columns,
        best={column.heading: best_in_column(report.jobs, column) for column in columns},
        roles={job.job_id: role(job, report.jobs) for job in report.jobs},
        ratios={job.job_id: speed_ratio(job, report.jobs) for job in report.jobs},
        colours={job.job_id: colour(index) for index, job in enumerate(report.jobs)},
        conclusions=conclusions(report),
        classes=_classes(report),
        scores={job.job_id: best_scores(job) for job in report.jobs},
        charts=drawn,
        figures=in_script({chart.name: chart.figure for chart in drawn}),
        images={job_id: base64.b64encode(image).decode() for job_id, image in images.items()},
        specs={job.job_id: _yaml(job) for job in report.jobs},
        plotly_js=plotly_js(),
        script=script,
        style=style,
    )


def _classes(report: Report) -> dict[str, int]:
    """Class -> number of boxes, in the order of the data set."""
    found: dict[str, int] = {}
    for job in report.jobs:
        scores = best_scores(job)
        for name, score in (scores.per_class if scores else {}).items():
            found.setdefault(name, score.num_boxes)
    return found


def _yaml(job: JobReport) -> str:
    return yaml.safe_dump(job.spec.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
