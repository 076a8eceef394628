"""Statistics of the channels of a map, over the global batch and all cells, and what follows from them.

Both functions here are analytic: each reads its maps twice in the forward pass and, but for one write, twice in the
backward pass. PyTorch's own gradients of the same formulas move six times as much.
"""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fgd_core.methods.parts.blocks import blocks_of
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
    flat = features.flatten(2)
    num_images, num_channels, num_cells = flat.shape
    means, squares = flat.new_empty(2, num_images, num_channels, 1, dtype=exact_type(features))
    for (values,), (mean, square), _ in blocks_of([flat], [means, squares]):
        block = values.to(mean.dtype)
        torch.mean(block, 2, keepdim=True, out=mean)
        torch.sum((block - mean).square_(), 2, keepdim=True, out=square)
    return _of_all_images(means[..., 0], squares[..., 0], num_cells)


def _of_all_images(means: Tensor, squares: Tensor, num_cells: int) -> ChannelStatistics:
    """Combine the means of images (N, C) and the sums of squares about them (N, C)."""
    mean = total_over_ranks(means.mean(0)) / world_size()
    total = total_over_ranks((squares + num_cells * (means - mean).square()).sum(0))
    # The maps of all ranks have the same shape.
    freedom = max(1, world_size() * len(means) * num_cells - 1)
    variance, least = total / freedom, torch.finfo(total.dtype).tiny
    deviation = variance.clamp(min=least).sqrt()
    # The gradient of the root of 0 is infinite: a channel without any activation would make every weight NaN.
    return ChannelStatistics(mean, deviation, torch.where(variance > least, 1 / (freedom * deviation), 0))


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
    wanted = channel_statistics(other)
    rescaled: Tensor = _Rescaled.apply(features, channel_statistics(features), wanted.deviation, wanted.mean)
    return rescaled


def standardised_gap(student: Tensor, teacher: Tensor) -> Tensor:
    """Compute the mean squared difference of two maps (N, C, H, W) whose channels are standardised: ().

    No gradient flows into the teacher.
    """
    gap: Tensor = _Gap.apply(student, teacher, channel_statistics(student), channel_statistics(teacher))
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
        flat, factor = features.flatten(2), own.factor * scale
        result = torch.empty_like(flat, dtype=factor.dtype)
        columns = _columns(len(flat), own.mean, factor, shift)
        for (values, into), (mean, its_factor, its_shift), _ in blocks_of([flat, result], columns):
            torch.addcmul(its_shift, values.to(mean.dtype) - mean, its_factor, out=into)
        ctx.save_for_backward(features, *own, scale)
        return result.view(features.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: _Context, slopes: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradient of the map from that of the result, both (N, C, H, W)."""
        features, *statistics, scale = ctx.saved_tensors
        own = ChannelStatistics(*statistics)
        flat, sloping = features.flatten(2), slopes.flatten(2)
        sums = own.mean.new_empty(2, *flat.shape[:2], 1)
        first = *sums, *_columns(len(flat), own.mean)
        for (values, slope), (total, along, mean), _ in blocks_of([flat, sloping], first):
            torch.sum(slope, 2, keepdim=True, out=total)
            torch.sum((values.to(mean.dtype) - mean).mul_(slope), 2, keepdim=True, out=along)
        count = world_size() * len(flat) * flat.shape[2]
        total, along = total_over_ranks(sums.sum(1)[..., 0])  # (C,) each
        factor = own.factor * scale
        weights = factor, -factor * own.factor * own.pull * along, -factor * total / count
        gradient = torch.empty_like(flat)
        columns = _columns(len(flat), own.mean, *weights)
        for (values, slope, into), (mean, *own_weights), _ in blocks_of([flat, sloping, gradient], columns):
            of_slope, of_distance, constant = own_weights
            distance = (values.to(mean.dtype) - mean).mul_(of_distance).add_(constant)
            into.copy_(distance.addcmul_(slope, of_slope))
        return gradient.view(features.shape), None, None, None


class _Gap(torch.autograd.Function):
    """Computes the mean squared difference of two standardised maps."""

    @staticmethod
    def forward(
        ctx: _Context, student: Tensor, teacher: Tensor, ours: ChannelStatistics, theirs: ChannelStatistics
    ) -> Tensor:
        """Compare maps (N, C, H, W): ()."""
        flat = student.flatten(2), teacher.flatten(2)
        sums = ours.mean.new_empty(2, *flat[0].shape[:2], 1)
        columns = *sums, *_columns(len(student), ours.mean, ours.factor, theirs.mean, theirs.factor)
        for (block, other), (total, along, *own), _ in blocks_of(flat, columns):
            distance, difference = _difference(block, other, own)
            torch.sum(distance.mul_(difference), 2, keepdim=True, out=along)
            torch.sum(difference.square_(), 2, keepdim=True, out=total)
        ctx.save_for_backward(student, teacher, *ours, *theirs, sums[1])
        mean: Tensor = sums[0].sum() / student.numel()
        return mean

    @staticmethod
    @once_differentiable
    def backward(ctx: _Context, slope: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradient of the student's map (N, C, H, W) from that of the result, ()."""
        student, teacher, *statistics, along = ctx.saved_tensors
        ours, theirs = ChannelStatistics(*statistics[:3]), ChannelStatistics(*statistics[3:])
        unit = 2 * slope / student.numel()
        of_all = total_over_ranks(along.sum(0)[:, 0] * unit)  # (C,)
        weights = ours.factor * unit, -ours.factor.square() * ours.pull * of_all
        flat = student.flatten(2), teacher.flatten(2)
        gradient = torch.empty_like(flat[0])
        columns = _columns(len(student), *weights, ours.mean, ours.factor, theirs.mean, theirs.factor)
        for (block, other, into), (of_difference, of_distance, *own), _ in blocks_of([*flat, gradient], columns):
            distance, difference = _difference(block, other, own)
            into.copy_(distance.mul_(of_distance).addcmul_(difference, of_difference))
        return gradient.view(student.shape), None, None, None


def _difference(student: Tensor, teacher: Tensor, columns: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Return how far blocks (N, c, K) of a student are from its means, and the difference of both, standardised.

    Args:
        columns: means and factors of the student and of the teacher, (N, c, 1) each.
    """
    mean, factor, their_mean, their_factor = columns
    distance = student.to(mean.dtype) - mean
    other = (teacher.to(mean.dtype) - their_mean).mul_(their_factor)
    return distance, torch.addcmul(other.neg_(), distance, factor)


def _columns(num_images: int, *channels: Tensor) -> list[Tensor]:
    """Return values of channels (C,) as columns (N, C, 1)."""
    return [each[None, :, None].expand(num_images, -1, -1) for each in channels]
