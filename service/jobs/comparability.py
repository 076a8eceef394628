"""Checks that jobs were scored on the same validation data, so that a report may compare them."""

from collections.abc import Sequence

from pydantic import JsonValue

from fgd_core.errors import NotComparableError
from fgd_core.spec.events import DataChecked
from fgd_core.spec.report import JobReport


def check_comparable(jobs: Sequence[JobReport]) -> None:
    """Refuse to compare jobs with scores on different data. A job without a score or a checked split yet is accepted.

    Raises:
        NotComparableError: it holds a reason for each job that was scored on other data than the first scored job.
    """
    scored = [(job, data) for job in jobs if _has_scores(job) and (data := _validation(job)) is not None]
    if not scored:
        return
    (first, reference), *others = scored
    reasons: list[JsonValue] = []
    for job, data in others:
        found = _difference(data, reference)
        if found is not None:
            code, what, cure = found
            message = f"{job.name} ({job.job_id}) {what} {first.name} ({first.job_id}){cure}"
            reasons.append({"loc": job.job_id, "code": code, "message": message})
    if reasons:
        raise NotComparableError(
            "these jobs were scored on different validation data, so their scores cannot be compared",
            reasons=reasons,
        )


def _has_scores(job: JobReport) -> bool:
    return job.result is not None or bool(job.evaluations)


def _validation(job: JobReport) -> DataChecked | None:
    return next((data for data in job.data if data.split == "val"), None)


def _difference(data: DataChecked, reference: DataChecked) -> tuple[str, str, str] | None:
    """(code, what, cure): the text before and after the name of the reference."""
    cure = "; leave it out, or evaluate its checkpoint on the same data (kind: evaluate) and report on that job"
    if list(data.boxes_per_category) != list(reference.boxes_per_category):
        apart = sorted(set(data.boxes_per_category) ^ set(reference.boxes_per_category))
        which = f" ({', '.join(apart[:10])})" if apart else " (in another order)"
        return "other_classes", "has other classes than", which + cure
    counts = (data.num_images, data.num_boxes)
    if counts != (reference.num_images, reference.num_boxes):
        number = f": {data.num_images} images with {data.num_boxes} boxes"
        instead = f", not {reference.num_images} with {reference.num_boxes}"
        return "other_data", "was scored on other validation data than", number + instead + cure
    if _differ(data.fingerprint, reference.fingerprint):
        return "other_data", "was scored on other validation images or boxes than", cure
    if _differ(data.masks_fingerprint, reference.masks_fingerprint):
        return "other_masks", "was scored on other masks than", cure
    if _differ(data.keypoints_fingerprint, reference.keypoints_fingerprint):
        return "other_keypoints", "was scored on other keypoints than", cure
    return None


def _differ(one: str | None, other: str | None) -> bool:
    """Whether both are known and differ. One is unknown if an older version recorded none, or they were not read."""
    return bool(one) and bool(other) and one != other
