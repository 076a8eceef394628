"""A report as one HTML file that opens anywhere, offline: charts, images and all."""

import base64
import importlib.resources
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import yaml
from markupsafe import Markup

from fgd_core.spec.report import JobReport, Report
from service.reports.comparison import COLUMNS, best_in_column, best_scores, conclusions, role, speed_ratio
from service.reports.figures import charts, colour

_HERE = Path(__file__).parent


def render_html(report: Report, images: Mapping[str, bytes]) -> str:
    """
    Args:
        images: PNG of sample detections by job id; jobs without one are passed over.
    Returns:
        A page that asks the network for nothing: its own security policy forbids it.
    """
    drawn = charts(report)
    return _template().render(
        title=" · ".join(job.name for job in report.jobs),
        report=report,
        columns=COLUMNS,
        best={column.heading: best_in_column(report.jobs, column) for column in COLUMNS},
        roles={job.job_id: role(job, report.jobs) for job in report.jobs},
        ratios={job.job_id: speed_ratio(job, report.jobs) for job in report.jobs},
        colours={job.job_id: colour(index) for index, job in enumerate(report.jobs)},
        conclusions=conclusions(report),
        classes=_classes(report),
        scores={job.job_id: best_scores(job) for job in report.jobs},
        charts=drawn,
        figures=_in_script({chart.name: chart.figure for chart in drawn}),
        images={job_id: base64.b64encode(image).decode() for job_id, image in images.items()},
        specs={job.job_id: _yaml(job) for job in report.jobs},
        plotly_js=Markup(_plotly_js()),
        script=Markup((_HERE / "report.js").read_text("utf-8")),
        style=Markup((_HERE / "report.css").read_text("utf-8")),
    )


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html")


@cache
def _plotly_js() -> str:
    # Read as a file: importing plotly takes a second, and all we want of it is the script it carries.
    script = importlib.resources.files("plotly").joinpath("package_data", "plotly.min.js").read_text("utf-8")
    return script.replace("</script", "<\\/script")


def _in_script(value: Any) -> Markup:
    """JSON that cannot end the script element it stands in, whatever a job is called."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _classes(report: Report) -> dict[str, int]:
    """Classes with their number of boxes, in the order of the data set."""
    found: dict[str, int] = {}
    for job in report.jobs:
        scores = best_scores(job)
        for name, score in (scores.per_class if scores else {}).items():
            found.setdefault(name, score.num_boxes)
    return found


def _yaml(job: JobReport) -> str:
    return yaml.safe_dump(job.spec.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
