"""Defines the interface of all distillation methods: a loss between two feature maps of one pyramid level."""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor


class Terms(Protocol):
    """Holds the parts of a loss, for reports, and their weighted sum, for the optimiser."""

    @property
    def total(self) -> Tensor:
        """Scalar () with gradients to the student and to the method's own parameters."""
        ...

    def unweighted(self) -> dict[str, Tensor]:
        """Return name to scalar () of each part, unweighted."""
        ...


class LevelLoss(Protocol):
    """Computes the loss of one level."""

    def __call__(
        self,
        student: Tensor,
        teacher: Tensor,
        boxes: Sequence[Tensor],
        image_sizes: Sequence[tuple[int, int]],
        input_size: tuple[int, int],
    ) -> Terms:
        """Compare one level of two pyramids.

        Args:
            student: (N, C_student, H, W).
            teacher: (N, C_teacher, H, W); no gradient flows into it.
            boxes: for each image (n, 4) xyxy in pixels of the resized image; n may be 0.
            image_sizes: for each image (height, width) in pixels of the resized image, before padding.
            input_size: (height, width) in pixels of the padded batch.
        """
        ...
