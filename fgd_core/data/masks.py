"""Masks of objects, kept as COCO's compressed run lengths: some 200 bytes an object, and pixels on demand."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias, TypedDict

import numpy as np
import numpy.typing as npt
import torch
from pycocotools import mask as run_lengths
from torch import Tensor

Counts: TypeAlias = bytes
"""The runs of one mask, column by column, beginning with those outside the object: pycocotools' `counts`."""


class RunLengths(TypedDict):
    """A mask as pycocotools takes it."""

    size: list[int]
    """Height, width."""
    counts: Counts


# Compared by identity, as the sample that it belongs to.
@dataclass(frozen=True, eq=False)
class ObjectMasks:
    """The masks of one image's objects, in their order."""

    height: int
    """Of the image, as its sample has it."""
    width: int
    counts: tuple[Counts, ...]

    def __len__(self) -> int:
        return len(self.counts)

    def as_run_lengths(self) -> list[RunLengths]:
        return [RunLengths(size=[self.height, self.width], counts=counts) for counts in self.counts]

    def decode(self, chosen: npt.NDArray[np.bool_] | None = None) -> Tensor:
        """(n, height, width) uint8, 1 on the object; of the chosen objects, or of all."""
        rows = self.as_run_lengths()
        if chosen is not None:
            rows = [row for row, is_chosen in zip(rows, chosen.tolist(), strict=True) if is_chosen]
        if not rows:
            return torch.zeros(0, self.height, self.width, dtype=torch.uint8)
        # pycocotools keeps the last axis outermost and columns contiguous, torch wants rows.
        return torch.from_numpy(np.ascontiguousarray(run_lengths.decode(rows).transpose(2, 0, 1)))


def encode(masks: Iterable[npt.NDArray[np.bool_]], size_px: tuple[int, int]) -> ObjectMasks:
    """
    Args:
        masks: each (height, width).
        size_px: (height, width), for an image without objects too.
    """
    counts = tuple(run_lengths.encode(np.asfortranarray(mask, dtype=np.uint8))["counts"] for mask in masks)
    return ObjectMasks(*size_px, counts)
