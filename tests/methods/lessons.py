"""Tiny detectors and one step's lesson for tests of methods."""

from typing import Any

import torch
from pydantic import TypeAdapter
from torch import Tensor

from fgd_core.data.loading import Batch
from fgd_core.detectors import build_detector
from fgd_core.detectors.base import Detector
from fgd_core.detectors.rescaled import at_input_scale
from fgd_core.methods.base import Lesson, Moment, View
from fgd_core.spec.detectors import AnyDetector, DetectorSpec, TwoStage
from fgd_core.spec.methods import AnyMethod
from fgd_core.training.distiller import Distiller
from tests.library import TINY_DETECTOR

DETECTOR: TypeAdapter[DetectorSpec] = TypeAdapter(DetectorSpec)
NUM_CLASSES = 3
SIZE = 128
MOMENT = Moment(step=1, steps=10, epochs=2)


def settings(kind: str, **fields: Any) -> AnyDetector:
    """Return the settings of a tiny detector of a kind."""
    spec = DETECTOR.validate_python(TINY_DETECTOR | {"type": kind})
    regions = {"rois_per_image": 16} if isinstance(spec, TwoStage) else {}
    return DETECTOR.validate_python(TINY_DETECTOR | regions | fields | {"type": kind})


def detector(kind: str, seed: int, *, num_classes: int = NUM_CLASSES, scale: float = 1.0, **fields: Any) -> Detector:
    """Build a tiny detector with the weights of a seed."""
    torch.manual_seed(seed)
    return at_input_scale(build_detector(settings(kind, **fields), num_classes), scale)


def batch(num_boxes: int = 3) -> Batch:
    """Return two images of noise; the second has no object."""
    boxes = torch.tensor([[8.0, 8, 40, 48], [30, 20, 100, 90], [4, 60, 20, 76]])[:num_boxes]
    return Batch(
        images=torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1)),
        image_sizes=[(SIZE, SIZE - 8)] * 2,
        boxes=[boxes, boxes[:0]],
        labels=[torch.arange(num_boxes) % NUM_CLASSES, torch.zeros(0, dtype=torch.int64)],
        image_ids=[1, 2],
        original_sizes=[(SIZE, SIZE)] * 2,
    )


def lesson(student: Detector, teacher: Detector, num_boxes: int = 3) -> Lesson:
    """Show both detectors on a batch, as the distiller does."""
    given = batch(num_boxes)
    return Lesson(
        student=View(
            lambda: student.all_maps(given.images),
            lambda maps: student.predict(maps, given.image_sizes, given.targets),
            num_levels=len(student.levels),
            region_head=student.region_head,
        ),
        teacher=View(
            torch.no_grad()(lambda: teacher.eval().all_maps(given.images)),
            torch.no_grad()(lambda maps: teacher.predict(maps, given.image_sizes)),
            num_levels=len(teacher.levels),
            region_head=teacher.region_head,
        ),
        targets=given.targets,
        input_size=(SIZE, SIZE),
    )


def distil(
    method: AnyMethod, student: Detector, teacher: Detector, given: Batch, *, moment: Moment = MOMENT
) -> tuple[Tensor, dict[str, float]]:
    """Run one step of a method, with the same random draws each time.

    Returns:
        The loss, a scalar (), and the values that the step reports, without `distill/`.
    """
    torch.manual_seed(3)
    total, values = Distiller(method, student, teacher)(student.all_maps(given.images), given, moment)
    return total, {name.removeprefix("distill/"): value.item() for name, value in values.items()}
