"""The worst images of a job on the page of a report: the job, its teachers and the report's other jobs side by side."""

import importlib
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from pydantic import ValidationError

from fgd_core.spec.report import JobReport, Report
from fgd_core.spec.worst_images import (
    DETECTIONS,
    OWN,
    VERDICT_COLOURS,
    WORST_IMAGES,
    AttentionMap,
    FoundBox,
    ShownImage,
    TrueBox,
    Verdict,
    WorstImages,
    judged,
)
from service.reports.comparison import teachers_of


class DrawnBox(NamedTuple):
    """A rectangle in pixels of the image."""

    x: float
    y: float
    width: float
    height: float
    caption: str
    verdict: Verdict
    colour: str


class Panel(NamedTuple):
    """What one detector has found on an image."""

    name: str
    boxes: Sequence[DrawnBox]

    @property
    def counts(self) -> str:
        """How many boxes are right, wrong and missed: `3 right, 1 missed`."""
        verdicts = [each.verdict for each in self.boxes]
        return ", ".join(f"{verdicts.count(each)} {each}" for each in VERDICT_COLOURS if each in verdicts) or "nothing"


class Row(NamedTuple):
    """One image with its panels."""

    image: ShownImage
    panels: Sequence[Panel]
    maps: Sequence[AttentionMap]


class Gallery(NamedTuple):
    """The worst images of one job."""

    job: JobReport
    rows: Sequence[Row]


Files = Mapping[tuple[str, str], bytes]
"""Files by job id and name of the artifact."""


def wanted_files(report: Report) -> list[tuple[str, str]]:
    """Return which files `gallery` needs, by job id and name of the artifact."""
    shown, others = _shown_and_others(report)
    return [(shown.job_id, WORST_IMAGES), *((job.job_id, DETECTIONS) for job in others)]


def gallery(report: Report, files: Files) -> Gallery | None:
    """Return the worst images of the report's first job that distils, else of its first job; None if it has none.

    The report's other jobs are shown on the same images, if they were evaluated on the same data and are no teachers of
    the job, which has shown these itself.
    """
    shown, others = _shown_and_others(report)
    worst = _read(files.get((shown.job_id, WORST_IMAGES)))
    if worst is None or not worst.images:
        return None
    teachers = {job.job_id for job in teachers_of(shown, report.jobs)}
    ids = [image.image_id for image in worst.images]
    found = [
        (job.name, content)
        for job in others
        if job.job_id not in teachers and (content := files.get((job.job_id, DETECTIONS))) is not None
    ]
    beside = _found_on(found, worst.fingerprint, ids) if found else []
    rows = [Row(image, [*_panels(shown, image, beside)], image.maps) for image in worst.images]
    return Gallery(shown, rows)


def _found_on(
    jobs: Sequence[tuple[str, bytes]], fingerprint: str, ids: Sequence[int]
) -> list[tuple[str, Mapping[int, list[FoundBox]]]]:
    # By name: a server loads NumPy only once a report shows other jobs on such images.
    found_on = importlib.import_module("service.compare.detections").found_on
    return [(name, found_on(content, fingerprint, ids)) for name, content in jobs]


def _shown_and_others(report: Report) -> tuple[JobReport, list[JobReport]]:
    shown = next((job for job in report.jobs if job.kind in ("distill", "chain")), report.jobs[0])
    return shown, [job for job in report.jobs if job.job_id != shown.job_id]


def _read(content: bytes | None) -> WorstImages | None:
    try:
        return WorstImages.model_validate_json(content) if content is not None else None
    except ValidationError:
        # Of another version, or damaged: the rest of the report is useful.
        return None


def _panels(
    job: JobReport, image: ShownImage, beside: Sequence[tuple[str, Mapping[int, list[FoundBox]]]]
) -> Iterator[Panel]:
    for name, found in image.found.items():
        yield _panel(job.name if name == OWN else name, image.truth, found)
    for name, by_image in beside:
        if image.image_id in by_image:
            yield _panel(name, image.truth, by_image[image.image_id])


def _panel(name: str, truth: Sequence[TrueBox], found: Sequence[FoundBox]) -> Panel:
    return Panel(
        name,
        [
            DrawnBox(left, top, right - left, bottom - top, caption, verdict, VERDICT_COLOURS[verdict])
            for (left, top, right, bottom), caption, verdict in judged(truth, found)
        ],
    )
