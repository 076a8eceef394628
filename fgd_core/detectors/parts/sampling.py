"""Samples the anchors or regions of an image that a step trains on."""

import torch
from torch import Tensor

from fgd_core.draws import some_of


def sample_balanced(
    labels: Tensor, count: int, share: float, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Sample up to `count` entries, of which at most a share have an object, as torchvision's sampler does.

    Args:
        labels: (n,) at least 1 with an object, 0 for background; others are never sampled.
        share: the largest share of entries with an object, in [0, 1].
        generator: on the device of the labels; None draws from PyTorch's global generator.
    Returns:
        Two masks (n,) bool: the sampled entries with an object, and those without.
    """
    positive = some_of(labels >= 1, int(count * share), generator)
    negative = some_of(labels == 0, count - len(positive), generator)
    return _mask(positive, len(labels)), _mask(negative, len(labels))


def _mask(indices: Tensor, length: int) -> Tensor:
    """Return the mask (length,) bool of indices (n,)."""
    mask = torch.zeros(length, dtype=torch.bool, device=indices.device)
    mask[indices] = True
    return mask
