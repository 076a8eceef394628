"""Renders a report as a table for spreadsheets: one row per job, scores as columns."""

import csv
import io
from collections.abc import Mapping, Sequence

from fgd_core.spec.report import JobReport, Report
from fgd_core.spec.results import PART_METRICS, PART_NAMES
from service.reports.comparison import best_scores, role, speed_ratio

_SCORES = (
    *("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"),
    *("ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large"),
)


def render_csv(report: Report) -> str:
    """Render RFC 4180 with a header.

    The last columns are `ap/<class>` and `ap50/<class>`, and `mask_ap`, `keypoint_ap` and the like if a job has masks
    or keypoints. Unknown values are empty.
    """
    return as_csv([_row(job, report) for job in report.jobs])


def as_csv(rows: Sequence[Mapping[str, object]]) -> str:
    """Write rows of one table, whose columns are in the order of their first use."""
    columns = dict.fromkeys(column for row in rows for column in row)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), restval="")
    writer.writeheader()
    writer.writerows({name: _inert(value) for name, value in row.items()} for row in rows)
    return text.getvalue()


def _row(job: JobReport, report: Report) -> Mapping[str, object]:
    result, scores = job.result, best_scores(job)
    row: dict[str, object] = {
        "job_id": job.job_id,
        "name": job.name,
        "kind": job.kind,
        "role": role(job, report.jobs),
        "state": job.state,
        "seed": job.spec.seed,
        **{name: getattr(scores, name) if scores else None for name in _SCORES},
        "num_parameters": result.num_parameters if result else None,
        "images_per_s": result.images_per_s if result else None,
        "latency_ms": result.speed.latency_ms if result and result.speed else None,
        "latency_spread": result.speed.spread if result and result.speed else None,
        "speed_disturbed_by": result.speed.disturbed_by if result and result.speed else None,
        "machine": result.speed.machine if result and result.speed else None,
        "images_per_s_over_teacher": speed_ratio(job, report.jobs),
        "train_s": result.train_s if result else None,
        "best_epoch": result.best_epoch if result else None,
        "weights": result.weights if result else None,
        "ended_by": result.ended_by if result else None,
        "skipped_steps": result.skipped_steps if result else None,
        "num_images": result.num_images if result else None,
        "device": result.device if result else None,
        "attempts": job.attempts,
        "error": job.error.code if job.error else None,
    }
    for name, score in (scores.per_class if scores else {}).items():
        row[f"ap/{name}"] = score.ap
        row[f"ap50/{name}"] = score.ap50
    for part, of_part in (scores.parts() if scores else {}).items():
        row |= {metric: getattr(of_part, at.name) for metric, at in PART_METRICS.items() if at.part == part}
        row |= {f"{PART_NAMES[part]}_ap/{name}": score.ap for name, score in of_part.per_class.items()}
    if scores and scores.keypoints:
        row["keypoint_sigmas"] = scores.keypoints.sigmas
    return row


def _inert(value: object) -> object:
    """Quote text that a spreadsheet would execute as a formula, such as a class name that begins with "="."""
    return f"'{value}" if isinstance(value, str) and value[:1] in "=+-@\t\r" and value else value
