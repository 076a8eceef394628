"""Renders a report as one HTML file, with charts and images, that opens offline."""

import base64
from collections.abc import Mapping

from fgd_core.spec.applied_methods import AppliedMethod, applied_methods
from fgd_core.spec.comparison import EVIDENCE
from fgd_core.spec.diagnosis import MEANINGS
from fgd_core.spec.report import JobReport, Report
from service.jobs.study_tables import study_tables
from service.reports.comparison import best_in_column, best_scores, columns_for, conclusions, role, speed_ratio
from service.reports.diagnosis_figures import diagnosis_charts, error_rows, frequent_confusions
from service.reports.distillation_ratios import ratio_rows
from service.reports.drawing import colour
from service.reports.figures import charts
from service.reports.page import as_yaml, render_charts
from service.reports.study_figures import study_charts
from service.reports.worst_images import Files, gallery


def render_html(report: Report, images: Mapping[str, bytes], files: Files | None = None) -> str:
    """Render the page.

    Args:
        images: PNG of sample detections by job id; a job may have none.
        files: those of `wanted_files` that there are.
    """
    columns = columns_for(report.jobs)
    curves, errors, gains = charts(report), diagnosis_charts(report), study_charts(report)
    return render_charts(
        "report.html",
        [*curves, *errors, *gains],
        gains=gains,
        curves=curves,
        errors=errors,
        gallery=gallery(report, files or {}),
        loss_ratios={job.job_id: ratio_rows(job) for job in report.jobs},
        error_rows=error_rows(report),
        meanings=MEANINGS,
        confusions={job.job_id: frequent_confusions(job) for job in report.jobs},
        styles=["report.css"],
        title=" · ".join(job.name for job in report.jobs),
        report=report,
        columns=columns,
        best={column.heading: best_in_column(report.jobs, column) for column in columns},
        study_tables={job.job_id: study_tables(job.study) for job in report.jobs if job.study is not None},
        roles={job.job_id: role(job, report.jobs) for job in report.jobs},
        ratios={job.job_id: speed_ratio(job, report.jobs) for job in report.jobs},
        colours={job.job_id: colour(index) for index, job in enumerate(report.jobs)},
        conclusions=conclusions(report),
        methods={job.job_id: _methods(job) for job in report.jobs},
        classes=_classes(report),
        scores={job.job_id: best_scores(job) for job in report.jobs},
        images={job_id: base64.b64encode(image).decode() for job_id, image in images.items()},
        evidence={job.job_id: _evidence(job) for job in report.jobs},
        specs={job.job_id: as_yaml(job.spec) for job in report.jobs},
    )


def _methods(job: JobReport) -> list[AppliedMethod]:
    return applied_methods(job.spec, job.order.order if job.order is not None else None)


def _evidence(job: JobReport) -> str | None:
    """The digest of the matched detections, from which `fgd verify` computes a score of the page again."""
    return next((artifact.sha256 for artifact in job.artifacts if artifact.name == EVIDENCE), None)


def _classes(report: Report) -> dict[str, int]:
    """Class -> number of boxes, in the order of the data set."""
    found: dict[str, int] = {}
    for job in report.jobs:
        scores = best_scores(job)
        for name, score in (scores.per_class if scores else {}).items():
            found.setdefault(name, score.num_boxes)
    return found
