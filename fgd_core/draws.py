"""Draws random numbers for each image of a batch.

The draws of an image depend only on the image's own seed, so they are the same whatever the other images of the batch
are, and however many processes share the batch.
"""

import zlib
from collections.abc import Sequence

import torch
from torch import Tensor

from fgd_core.true_entries import true_entries


def generators_of(seeds: Sequence[int], purpose: str, device: torch.device) -> list[torch.Generator]:
    """Return a generator for each image.

    Args:
        seeds: of the images in this step.
        purpose: what is drawn; other purposes get other numbers.
        device: where the numbers are drawn.
    """
    # Seeds that differ in one bit must give unlike numbers; a checksum of 32 bits spreads them, and costs little.
    return [torch.Generator(device).manual_seed(zlib.crc32(f"{purpose} {seed}".encode())) for seed in seeds]


def some_of(mask: Tensor, count: int, generator: torch.Generator | None = None, *, number: int | None = None) -> Tensor:
    """Draw up to `count` of the true entries of a mask.

    Args:
        mask: (n,) bool.
        generator: on the device of the mask; None draws from PyTorch's global generator.
        number: of the true entries; None: the host waits to learn it.
    Returns:
        (m,) int64, their indices.
    """
    indices = true_entries(mask, number)
    order = torch.randperm(len(indices), device=mask.device, generator=generator)
    return indices[order[:count]]
