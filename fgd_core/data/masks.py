"""Stores object masks as COCO's compressed run lengths, about 200 bytes each, and decodes them on demand."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias, TypedDict

import numpy as np
import numpy.typing as npt
import torch
from pycocotools import mask as run_lengths
from torch import Tensor

Counts: TypeAlias = bytes
"""The run lengths of one mask, column by column, background first: `counts` in pycocotools."""


class RunLengths(TypedDict):
    """Holds a mask in the form that pycocotools reads."""

    size: tuple[int, int]
    """Height, width."""
    counts: Counts


# Compared by identity, like the sample that the masks belong to.
@dataclass(frozen=True, eq=False)
class ObjectMasks:
    """Holds the masks of the objects in one image, in the order of the objects."""

    height: int
    """Of the image, in pixels, as in its sample."""
    width: int
    counts: tuple[Counts, ...]

    def __len__(self) -> int:
        return len(self.counts)

    def as_run_lengths(self) -> list[RunLengths]:
        """Return the masks in the form that pycocotools reads."""
        size = _size(self.height, self.width)
        return [{"size": size, "counts": counts} for counts in self.counts]

    def decode(self, chosen: npt.NDArray[np.bool_] | None = None) -> Tensor:
        """Decode the masks of the `chosen` objects, or of all.

        Args:
            chosen: (number of objects,) True for each object to decode.
        Returns:
            (n, height, width) uint8, 1 on the object.
        """
        rows = self.as_run_lengths()
        if chosen is not None:
            rows = [row for row, is_chosen in zip(rows, chosen.tolist(), strict=True) if is_chosen]
        if not rows:
            return torch.zeros(0, self.height, self.width, dtype=torch.uint8)
        # pycocotools returns (height, width, n) with contiguous columns; torch needs contiguous rows.
        return torch.from_numpy(np.ascontiguousarray(run_lengths.decode(rows).transpose(2, 0, 1)))


def encode(masks: Iterable[npt.NDArray[np.bool_]], size_px: tuple[int, int]) -> ObjectMasks:
    """Compress the masks of one image.

    Args:
        masks: each (height, width).
        size_px: (height, width); needed because an image may have no objects.
    """
    counts = tuple(run_lengths.encode(np.asfortranarray(mask, dtype=np.uint8))["counts"] for mask in masks)
    return ObjectMasks(*size_px, counts)


@cache
def _size(height: int, width: int) -> tuple[int, int]:
    """Return the same tuple for all masks of a size.

    Python's garbage collector skips a dict of bytes and old tuples. With new tuples it took ten times as long as all
    else to make 100,000 such dicts.
    """
    return height, width
