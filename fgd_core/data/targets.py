"""The objects in a batch of images, in the form that detectors learn from."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from fgd_core.draws import generators_of
from fgd_core.errors import DataError


class Targets(NamedTuple):
    """Holds the objects of a batch; each list has one entry for each image."""

    boxes: list[Tensor]
    """(n, 4) float32 xyxy in pixels of the resized image, without crowd regions; n may be 0."""
    labels: list[Tensor]
    """(n,) int64 in [0, num_classes)."""
    image_sizes: list[tuple[int, int]]
    """(height, width) after resizing, before padding."""
    masks: list[Tensor] | None = None
    """(n, height, width) uint8, 1 on the object; None if the data set was opened without masks."""
    keypoints: list[Tensor] | None = None
    """(n, K, 3) float32: x and y in pixels of the resized image, and visibility: 0 not labelled, 1 hidden, 2 visible;
    None if the data set was opened without keypoints."""
    seeds: Sequence[int] | None = None
    """For each image the seed of this step's random draws; None draws from PyTorch's global generator."""

    def generators(self, purpose: str, device: torch.device) -> Sequence[torch.Generator | None]:
        """Return for each image the generator of one of its random draws; None is PyTorch's global generator."""
        return [None] * len(self.boxes) if self.seeds is None else generators_of(self.seeds, purpose, device)

    def masks_to_learn(self) -> list[Tensor]:
        """Return the masks: for each image (n, height, width).

        Raises:
            DataError: the data has none.
        """
        if self.masks is None:
            raise DataError(
                "the detector trains masks, but the data has none; use a data set whose objects have a segmentation, "
                "or the detector without masks"
            )
        return self.masks

    def keypoints_to_learn(self) -> list[Tensor]:
        """Return the keypoints: for each image (n, K, 3).

        Raises:
            DataError: the data has none.
        """
        if self.keypoints is None:
            raise DataError(
                "the detector trains keypoints, but the data has none; use a data set whose objects have keypoints, or "
                "a detector without keypoints"
            )
        return self.keypoints
