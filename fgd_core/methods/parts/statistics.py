"""Statistics of the channels of a map, over the global batch and all cells, and what follows from them.

The gradients are analytic, so nothing of a map's size is kept but the maps, and the maps are read once or twice in each
direction. PyTorch's own gradients of the same formulas move six times as much.
"""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fgd_core.methods.parts.channel_passes import combined, moments
from fgd_core.methods.parts.precision import exact_type
from fgd_core.ranks import total_over_ranks, world_size

_EPSILON = 1e-6


class ChannelStatistics(NamedTuple):
    """Holds the statistics of each channel, over all ranks, without gradient."""

    mean: Tensor
    """(C,)"""
    deviation: Tensor
    """(C,), unbiased; almost 0 for a constant channel and for a map with a single cell"""
    pull: Tensor
    """(C,): the gradient of the deviation is `pull` times the distance of a value from the mean"""

    @property
    def factor(self) -> Tensor:
        """What a distance from the mean is multiplied by to standardise it, (C,)."""
        return 1 / (self.deviation + _EPSILON)


@torch.no_grad()
def channel_statistics(features: Tensor) -> ChannelStatistics:
    """Compute the mean and deviation of the channels of a map (N, C, H, W)."""
    return _statistics_of_both(features, features)[0]


def _statistics_of_both(features: Tensor, other: Tensor) -> tuple[ChannelStatistics, ChannelStatistics]:
    """Compute the statistics of two maps (N, C, H, W) in one pass over both."""
    found = moments(features.flatten(2), other.flatten(2))
    num_cells = features.shape[2:].numel()
    return (
        _of_all_images(found.mean, found.square, num_cells),
        _of_all_images(found.their_mean, found.their_square, num_cells),
    )


def _of_all_images(means: Tensor, squares: Tensor, num_cells: int) -> ChannelStatistics:
    """Combine the means of images (N, C) and the sums of squares about them (N, C)."""
    mean = total_over_ranks(means.mean(0)) / world_size()
    total = total_over_ranks((squares + num_cells * (means - mean).square()).sum(0))
    # The maps of all ranks have the same shape.
    freedom = max(1, world_size() * len(means) * num_cells - 1)
    variance, least = total / freedom, torch.finfo(total.dtype).tiny
    deviation = variance.clamp(min=least).sqrt()
    # The gradient of the root of 0 is infinite: a channel without any activation would make every weight NaN.
    return ChannelStatistics(mean, deviation, (1 / (freedom * deviation)).masked_fill(variance <= least, 0))


def standardised(features: Tensor) -> Tensor:
    """Subtract the mean of each channel of (N, C, H, W) and divide by its standard deviation; over batch and space.

    A constant channel, and a map with a single cell, become 0.
    """
    own = channel_statistics(features)
    rescaled: Tensor = _Rescaled.apply(features, own, torch.ones_like(own.mean), torch.zeros_like(own.mean))
    return rescaled


def with_statistics_of(other: Tensor, features: Tensor) -> Tensor:
    """Shift and scale each channel of `features` to the mean and the deviation of the channel of `other`.

    Args:
        other: (N, C, H, W); no gradient flows into it.
        features: (N, C, H, W).
    Returns:
        (N, C, H, W), float32 at least.
    Source: CrossKD, arXiv:2306.11369: two networks' maps differ in scale, and a head only suits its own.
    """
    with torch.no_grad():
        own, wanted = _statistics_of_both(features, other)
    rescaled: Tensor = _Rescaled.apply(features, own, wanted.deviation, wanted.mean)
    return rescaled


def standardised_gap(student: Tensor, teacher: Tensor) -> Tensor:
    """Compute the mean squared difference of two maps (N, C, H, W) whose channels are standardised: ().

    No gradient flows into the teacher.
    """
    gap: Tensor = _Gap.apply(student, teacher)
    return gap


class _Context(Protocol):
    """Describes what PyTorch gives an autograd function."""

    saved_tensors: tuple[Tensor, ...]

    def save_for_backward(self, *tensors: Tensor) -> None: ...


class _Rescaled(torch.autograd.Function):
    """Standardises the channels of a map, and then scales and shifts them by constants."""

    @staticmethod
    def forward(ctx: _Context, features: Tensor, own: ChannelStatistics, scale: Tensor, shift: Tensor) -> Tensor:
        """Rescale a map (N, C, H, W) by constants (C,)."""
        factor = own.factor * scale
        result = combined([features.flatten(2)], [own.mean], [factor], shift, factor.dtype)
        ctx.save_for_backward(features, *own, scale)
        return result.view(features.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: _Context, slopes: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradient of the map from that of the result, both (N, C, H, W)."""
        features, *statistics, scale = ctx.saved_tensors
        own = ChannelStatistics(*statistics)
        # The gradient of a sum is one number in the shape of a map, which no pass can read block by block.
        sloping = (slopes.contiguous() if features.is_contiguous() else slopes).flatten(2)
        flat, num_cells = features.flatten(2), features.shape[2:].numel()
        found = moments(flat, sloping)
        along = found.product + num_cells * (found.mean - own.mean) * found.their_mean
        sums = total_over_ranks(torch.stack([num_cells * found.their_mean.sum(0), along.sum(0)]))  # (2, C)
        count = world_size() * len(flat) * num_cells
        factor = own.factor * scale
        weights = factor, -factor * own.factor * own.pull * sums[1]
        centres = torch.zeros_like(own.mean), own.mean
        gradient = combined([sloping, flat], centres, weights, -factor * sums[0] / count, features.dtype)
        return gradient.view(features.shape), None, None, None


class _Gap(torch.autograd.Function):
    """Computes the mean squared difference of two standardised maps from the sums of their squares and products."""

    @staticmethod
    def forward(ctx: _Context, student: Tensor, teacher: Tensor) -> Tensor:
        """Compare maps (N, C, H, W): ()."""
        num_cells = student.shape[2:].numel()
        found = moments(student.flatten(2), teacher.flatten(2))
        # The result is a difference of sums: float32 would round each of them to 7 digits once more.
        means, their_means, squares, their_squares, products = (each.double() for each in found)  # (N, C) each
        ours = _of_all_images(means, squares, num_cells)
        theirs = _of_all_images(their_means, their_squares, num_cells)
        apart, their_part = means - ours.mean, their_means - theirs.mean
        own = (squares + num_cells * apart.square()).sum(0)  # (C,) of this rank, about the mean of all ranks
        of_other = (their_squares + num_cells * their_part.square()).sum(0)
        common = (products + num_cells * apart * their_part).sum(0)
        factor, their_factor = ours.factor, theirs.factor
        gap = factor.square() * own + their_factor.square() * of_other - 2 * factor * their_factor * common
        ctx.save_for_backward(student, teacher, *ours, *theirs, factor * own - their_factor * common)
        mean_gap: Tensor = gap.sum() / student.numel()
        return mean_gap.to(found.mean.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: _Context, slope: Tensor) -> tuple[Tensor, None]:
        """Return the gradient of the student's map (N, C, H, W) from that of the result, ()."""
        student, teacher, *statistics, along = ctx.saved_tensors
        ours, theirs = ChannelStatistics(*statistics[:3]), ChannelStatistics(*statistics[3:])
        unit = 2 * slope / student.numel() * ours.factor
        of_all = total_over_ranks(along * unit)  # (C,)
        weights = unit * ours.factor - ours.factor * ours.pull * of_all, -unit * theirs.factor
        exact = exact_type(student)
        maps = student.flatten(2), teacher.flatten(2)
        centres, columns = ([each.to(exact) for each in pair] for pair in ((ours.mean, theirs.mean), weights))
        gradient = combined(maps, centres, columns, torch.zeros_like(centres[0]), student.dtype)
        return gradient.view(student.shape), None
