"""Runs the region heads of student and teacher on the same boxes."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from fgd_core.methods.base import Lesson, View
from fgd_core.outputs import RegionHead, RegionOutputs, RegionReading, Regions


class SharedRegions(NamedTuple):
    """Holds n regions of a batch, and what both heads predict for them."""

    regions: Regions
    """In pixels of the student's images."""
    student: RegionReading
    teacher: RegionReading
    """Without gradient."""

    @property
    def boxes(self) -> Tensor:
        """(n, 4) xyxy in pixels of the student's images."""
        return torch.cat(self.regions.boxes)

    @property
    def labels(self) -> Tensor:
        """The class of each region: (n,) int64, 0 is the background."""
        return torch.cat(self.regions.labels)

    @property
    def has_object(self) -> Tensor:
        """Whether each region is matched to an object: (n,) bool."""
        return self.labels > 0


def on_teachers_regions(lesson: Lesson, scale: float) -> SharedRegions:
    """Sample regions from the teacher's proposals, and run both heads on them.

    Args:
        scale: pixels of the teacher's images for each pixel of the student's.
    """
    outputs = lesson.teacher.outputs
    assert isinstance(outputs, RegionOutputs)
    head, targets = _head(lesson.teacher), lesson.targets
    sampled = head.sample(outputs.proposals, targets._replace(boxes=_scaled(targets.boxes, scale)))
    with torch.no_grad():
        teacher = _read(lesson.teacher, sampled.boxes)
    regions = sampled._replace(boxes=_scaled(sampled.boxes, 1 / scale))
    return SharedRegions(regions, _read(lesson.student, regions.boxes), teacher)


def on_students_regions(lesson: Lesson, scale: float) -> SharedRegions:
    """Run the teacher's head on the regions that the student trains on.

    Args:
        scale: pixels of the teacher's images for each pixel of the student's.
    """
    outputs = lesson.student.outputs
    assert isinstance(outputs, RegionOutputs) and outputs.regions is not None and outputs.reading is not None
    return SharedRegions(outputs.regions, outputs.reading, read_by_teacher(lesson, outputs.regions.boxes, scale))


@torch.no_grad()
def read_by_teacher(lesson: Lesson, boxes: Sequence[Tensor], scale: float) -> RegionReading:
    """Run the teacher's head, without gradient.

    Args:
        boxes: for each image (n, 4) xyxy in pixels of the student's images.
        scale: pixels of the teacher's images for each pixel of the student's.
    """
    return _read(lesson.teacher, _scaled(boxes, scale))


def region_heads(lesson: Lesson) -> tuple[RegionHead, RegionHead]:
    """Return the region heads of the student and of the teacher."""
    return _head(lesson.student), _head(lesson.teacher)


def _head(view: View) -> RegionHead:
    assert view.region_head is not None, "the method needs detectors with regions"
    return view.region_head


def _read(view: View, boxes: Sequence[Tensor]) -> RegionReading:
    return _head(view).on(view.pyramid, boxes)


def _scaled(boxes: Sequence[Tensor], factor: float) -> list[Tensor]:
    """Scale boxes (n, 4) of each image; a factor of 1 changes no bit."""
    return [own * factor for own in boxes]
