"""Samples the anchors or regions of each image that a step trains on."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from fgd_core.draws import some_of
from fgd_core.true_entries import numbers_of_true


class Sample(NamedTuple):
    """Holds the sampled entries of an image."""

    positive: Tensor
    """(p,) int64, the indices of those with an object, lowest first"""
    chosen: Tensor
    """(s,) int64, the indices of all, lowest first"""


def sample_balanced(
    labels: Sequence[Tensor],
    count: int,
    share: float,
    generators: Sequence[torch.Generator | None],
) -> list[Sample]:
    """Sample up to `count` entries of each image, of which at most a share have an object, as torchvision does.

    The host waits once, for the numbers of entries of all images.

    Args:
        labels: for each image (n,): at least 1 with an object, 0 for background; others are never sampled.
        share: the largest share of entries with an object, in [0, 1].
        generators: for each image, on the device of the labels; None draws from PyTorch's global generator.
    """
    masks = [(own >= 1, own == 0) for own in labels]
    numbers = numbers_of_true([mask for pair in masks for mask in pair])
    samples = []
    for (has_object, is_empty), found, empty, generator in zip(
        masks, numbers[::2], numbers[1::2], generators, strict=True
    ):
        positive = some_of(has_object, int(count * share), generator, number=found)
        negative = some_of(is_empty, count - len(positive), generator, number=empty)
        samples.append(Sample(positive.sort().values, torch.cat([positive, negative]).sort().values))
    return samples
