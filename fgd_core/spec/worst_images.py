"""The images on which a detector errs most: what it found there, what its teachers find, and where both look.

A run stores them as the artifact `worst_images.json`. The server reads it for the report, and for the same images reads
what other jobs found there from their `detections.npz`.
"""

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, TypeAlias

from fgd_core.spec.base import Fact

WORST_IMAGES = "worst_images.json"
DETECTIONS = "detections.npz"
DETECTIONS_VERSION = 2
MIN_SCORE = 0.3
"""Detections with a lower score are not shown."""
NO_OBJECT = -1
OWN = "this detector"

Verdict: TypeAlias = Literal["right", "wrong", "missed"]
VERDICT_COLOURS: dict[Verdict, str] = {"right": "#009E73", "wrong": "#D55E00", "missed": "#F0E442"}
"""Of Okabe and Ito, which colour-blind people can distinguish."""


class TrueBox(Fact):
    """An object of the image."""

    box_xyxy_px: tuple[float, float, float, float]
    label: str


class FoundBox(Fact):
    """A detection."""

    box_xyxy_px: tuple[float, float, float, float]
    label: str
    score: float
    truth: int
    """Index of the object that it has found at IoU 0.5; -1 if it is no object."""
    is_ignored: bool = False
    """Whether it lies in a crowd."""


class AttentionMap(Fact):
    """A map over the image."""

    name: str
    png: str
    """A PNG in base64, with transparency, as large as the image or smaller."""


class ShownImage(Fact):
    """One image, with everything that is shown of it."""

    image_id: int
    file_name: str
    width: int
    height: int
    """Width and height in pixels; boxes are in these pixels."""
    jpeg: str
    """The image in base64, reduced."""
    truth: list[TrueBox]
    found: dict[str, list[FoundBox]]
    """By detector: `OWN`, and the teachers. Only detections with a score of at least `MIN_SCORE`."""
    maps: list[AttentionMap] = []


class WorstImages(Fact):
    """The content of `worst_images.json`."""

    fingerprint: str
    """Of the data; other jobs on the same data are shown on the same images."""
    images: list[ShownImage]


class ShownBox(Fact):
    """A box as it is drawn: a detection, or a missed object."""

    box_xyxy_px: tuple[float, float, float, float]
    """In pixels of the image."""
    caption: str
    verdict: Verdict


class ImagePanel(Fact):
    """What one detector has found on an image."""

    name: str
    """The job's name, or the teacher's."""
    boxes: list[ShownBox]
    """In the order of drawing."""


class JudgedImage(Fact):
    """One of the images on which a detector errs most, with what several detectors have found on it."""

    image_id: int
    file_name: str
    width: int
    height: int
    """Width and height in pixels; boxes are in these pixels."""
    jpeg: str
    """The image in base64, reduced."""
    panels: list[ImagePanel]
    """The job, its teachers, then other jobs."""
    maps: list[AttentionMap] = []


class WorstImagesView(Fact):
    """GET /v1/jobs/{job_id}/worst-images"""

    images: list[JudgedImage]
    """Empty if the job has kept no images: it still runs, makes no errors, or is a sweep."""


class JudgedBox(NamedTuple):
    """A box as it is drawn."""

    box_xyxy_px: tuple[float, float, float, float]
    caption: str
    verdict: Verdict


def judged(truth: Sequence[TrueBox], found: Sequence[FoundBox]) -> Iterator[JudgedBox]:
    """Yield the missed objects, then the detections, the best last so that it is drawn on top."""
    seen = {each.truth for each in found}
    for index, true in enumerate(truth):
        if index not in seen:
            yield JudgedBox(true.box_xyxy_px, true.label, "missed")
    for each in sorted(found, key=lambda each: each.score):
        if not each.is_ignored:
            verdict: Verdict = "wrong" if each.truth == NO_OBJECT else "right"
            yield JudgedBox(each.box_xyxy_px, f"{each.label} {each.score:.2f}", verdict)
