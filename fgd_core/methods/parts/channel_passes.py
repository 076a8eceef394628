"""Passes over maps for statistics of channels and for signs: functions in C where they fit, operations otherwise.

Maps are (N, C, K) with K cells.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from fgd_core.methods.parts import cpu_passes
from fgd_core.methods.parts.blocks import blocks_of
from fgd_core.methods.parts.precision import exact_type


class Moments(NamedTuple):
    """Holds sums over the cells of two maps, (N, C) each; a distance is from the mean of the channel in its image."""

    mean: Tensor
    their_mean: Tensor
    square: Tensor
    """of the distances"""
    their_square: Tensor
    product: Tensor
    """of the distances of both maps"""


def moments(ours: Tensor, theirs: Tensor) -> Moments:
    """Sum over two maps (N, C, K) in one pass."""
    if cpu_passes.fit(ours, theirs):
        return Moments(*cpu_passes.moments(ours, theirs))
    sums = ours.new_empty(5, *ours.shape[:2], 1, dtype=exact_type(ours))
    for maps, (mean, their_mean, square, their_square, product), _ in blocks_of([ours, theirs], [*sums]):
        distance, their_distance = _centred(maps[0], mean), _centred(maps[1], their_mean)
        torch.sum(distance * their_distance, 2, keepdim=True, out=product)
        torch.sum(distance.square_(), 2, keepdim=True, out=square)
        torch.sum(their_distance.square_(), 2, keepdim=True, out=their_square)
    return Moments(*sums[..., 0])


def _centred(values: Tensor, mean: Tensor) -> Tensor:
    """Write the means of channels (N, C, K) into `mean`, (N, C, 1), and return the distances from it."""
    block = values.to(mean.dtype)
    torch.mean(block, 2, keepdim=True, out=mean)
    return block - mean


def combined(
    maps: Sequence[Tensor], centres: Sequence[Tensor], weights: Sequence[Tensor], constant: Tensor, kind: torch.dtype
) -> Tensor:
    """Add up the weighed distances of one or two maps from their centres, and a constant, in one pass.

    Args:
        maps: (N, C, K) each.
        centres: of the channels of each map, (C,).
        weights: likewise.
        constant: of the channels, (C,).
        kind: the type of the result.
    Returns:
        (N, C, K)
    """
    if kind == constant.dtype == maps[0].dtype and cpu_passes.fit(*maps):
        return cpu_passes.combine(maps, centres, weights, constant)
    result = torch.empty_like(maps[0], dtype=kind)
    columns = [each[None, :, None].expand(len(result), -1, -1) for each in (*centres, *weights, constant)]
    for (*parts, into), (*numbers, its_constant), _ in blocks_of([*maps, result], columns):
        its_centres, its_weights = numbers[: len(parts)], numbers[len(parts) :]
        weighed = zip(parts, its_centres, its_weights, strict=True)
        into.copy_(sum(((part.to(centre.dtype) - centre).mul_(by) for part, centre, by in weighed), its_constant))
    return result


def signed(features: Tensor, columns: Tensor, rows: Tensor) -> Tensor:
    """Multiply the signs of a map by the sum of a number of the channel and one of the cell, in one pass.

    Args:
        features: (N, C, K).
        columns: (N, C).
        rows: (N, K).
    Returns:
        (N, C, K) in the type of the map.
    """
    if cpu_passes.fit(features):
        return cpu_passes.signs(features, columns, rows)
    result = torch.empty_like(features)
    for (values, into), (of_channels,), (of_cells,) in blocks_of(
        [features, result], [columns[..., None]], [rows[:, None]]
    ):
        torch.mul(of_channels + of_cells, values.sgn(), out=into)
    return result
