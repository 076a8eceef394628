"""Says in words what a report's figures mean and what to do about it."""

from collections.abc import Iterator

from fgd_core.spec.report import JobReport, Report
from service.reports.comparison import conclusions
from service.reports.distillation_ratios import USUAL_RATIO, ratio_rows


def sentences(report: Report) -> list[str]:
    """Return what the comparison of the jobs shows, then advice on each job."""
    return [*conclusions(report), *(sentence for job in report.jobs for sentence in _advice(job))]


def _advice(job: JobReport) -> Iterator[str]:
    if job.plan is not None and job.plan.is_idle:
        yield f"{job.name} distils nothing: all weights of {job.plan.method} are zero. Give its terms a weight."
    low, high = USUAL_RATIO
    for row in ratio_rows(job):
        if row.is_unusual and row.first_ratio is not None:
            is_low = row.first_ratio < low
            effect = "has little effect" if is_low else "drowns the detector's own losses"
            cure = "a larger" if is_low else "a smaller"
            yield (
                f"In the first epoch the distillation of {job.name} was {row.first_ratio:.3g} times its task loss, so "
                f"it {effect}; {low:g} to {high:g} times is usual. Submit the job with {cure} method.scale, or with "
                "method.scale: auto."
            )
    if job.result is not None and job.result.skipped_steps:
        yield (
            f"{job.result.skipped_steps} steps of {job.name} changed no weights, because their loss or gradient was "
            "not finite. A smaller learning rate usually helps."
        )
    if job.result is not None and job.result.altered is not None:
        altered = job.result.altered
        ap = f"AP {altered.ap:.3f}, and " if altered.ap is not None else ""
        yield (
            f"On mildly altered images {job.name} has {ap}{altered.flips:.1%} of the objects appear or disappear; "
            f"their scores change by {altered.score_change:.3f} in the mean."
        )
