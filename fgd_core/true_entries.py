"""Finds the true entries of masks with as few waits for the device as possible.

The host must know how many entries are true before it can ask for a tensor of them. It waits once for the numbers of
many masks, and not once for each mask.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor


def numbers_of_true(masks: Sequence[Tensor]) -> list[int]:
    """Count the true entries of masks (…) bool; the host waits once for all of them."""
    return cast(list[int], torch.stack([mask.sum() for mask in masks]).tolist())


def true_entries(mask: Tensor, number: int | None = None) -> Tensor:
    """Return the indices of the true entries of a mask (n,) bool, lowest first: (number,) int64.

    Args:
        number: how many they are; None: the host waits to learn it.
    """
    return (mask.nonzero() if number is None else torch.nonzero_static(mask, size=number))[:, 0]
