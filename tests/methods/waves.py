"""Maps for golden numbers: smooth waves that any other implementation can write down too."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fgd_core.data.targets import Targets
from fgd_core.methods.base import Lesson, LevelPair, Moment, View

STRIDE = 8
IMAGE_SIZE = (48, 64)


def golden_maps() -> tuple[Tensor, Tensor]:
    """Return the student's and the teacher's map, each (2, 4, 6, 8) float64."""
    n, c, h, w = torch.meshgrid(*(torch.arange(k, dtype=torch.float64) for k in (2, 4, 6, 8)), indexing="ij")

    def wave(a: float, b: float) -> Tensor:
        return (a * (1 + n) + 0.7 * c + 0.3 * h * b + 0.11 * w).sin() + 0.25 * (0.5 * c * h + 0.2 * w + a).cos()

    return wave(0.9, 1.3), wave(0.4, 1.0)


def boxes(*rows: tuple[float, float, float, float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64).reshape(-1, 4)


GOLDEN_BOXES = [boxes((8, 8, 40, 30), (20, 16, 28, 24)), boxes()]
"""For maps of stride 8; the second image has no object."""

START = Moment()
PAIR = LevelPair(
    position=0, num_pairs=1, name="P3", stride=STRIDE, teacher_level=0, student_channels=4, teacher_channels=4
)


def lesson(of_images: Sequence[Tensor] = tuple(GOLDEN_BOXES), moment: Moment = START) -> Lesson:
    """Build a lesson with boxes (n, 4) for each image; it has no maps."""
    nothing = View(lambda: ())
    labels = [torch.zeros(len(each), dtype=torch.int64) for each in of_images]
    targets = Targets([*of_images], labels, [IMAGE_SIZE] * len(of_images))
    return Lesson(nothing, nothing, targets, IMAGE_SIZE, moment)
