"""Statistics of the channels of a map, over the global batch and all cells."""

from typing import NamedTuple

import torch
from torch import Tensor

from fgd_core.ranks import sum_over_ranks, world_size

_EPSILON = 1e-6
_AXES = (0, 2, 3)


class ChannelStatistics(NamedTuple):
    """Holds the mean and the standard deviation of each channel."""

    mean: Tensor
    """(1, C, 1, 1)"""
    deviation: Tensor
    """(1, C, 1, 1), unbiased; almost 0 for a map with a single cell"""


def channel_statistics(features: Tensor) -> ChannelStatistics:
    """Compute the mean and deviation of the channels of a map (N, C, H, W)."""
    # The maps of all ranks have the same shape.
    num_values = world_size() * features.numel() // features.shape[1]
    mean = sum_over_ranks(features.mean(_AXES, keepdim=True)) / world_size()
    variance = sum_over_ranks((features - mean).square().sum(_AXES, keepdim=True)) / max(1, num_values - 1)
    # The gradient of the root of 0 is infinite: a channel without any activation would make every weight NaN.
    return ChannelStatistics(mean, variance.clamp(min=torch.finfo(variance.dtype).tiny).sqrt())


def standardised(features: Tensor) -> Tensor:
    """Subtract the mean of each channel of (N, C, H, W) and divide by its standard deviation; over batch and space.

    A constant channel, and a map with a single cell, become 0.
    """
    mean, deviation = channel_statistics(features)
    return (features - mean) / (deviation + _EPSILON)


def with_statistics_of(other: Tensor, features: Tensor) -> Tensor:
    """Shift and scale each channel of `features` to the mean and the deviation of the channel of `other`.

    Args:
        other: (N, C, H, W); no gradient flows into it.
        features: (N, C, H, W).
    Returns:
        (N, C, H, W)
    Source: CrossKD, arXiv:2306.11369: two networks' maps differ in scale, and a head only suits its own.
    """
    mean, deviation = channel_statistics(other.detach())
    return standardised(features) * deviation + mean
