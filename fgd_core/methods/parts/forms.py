"""The pieces of a composed loss: transforms of two maps, and distances of what they yield, weighed by cell and channel.

All functions take maps of n pictures (n, C, H, W): of the images of a batch, or of objects cut out of them.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, max_pool2d, normalize

from fgd_core.methods.parts.attention import attention
from fgd_core.ranks import divisor

_RELATED = 8
"""Side of the grid whose cells are related to each other."""

Temperature: TypeAlias = float | Tensor
"""For all pictures, or (n,) one for each."""


class Weights(NamedTuple):
    """Says how much each value counts; None: all count the same."""

    cells: Tensor | None = None
    """(n, 1, H, W), at least 0"""
    channels: Tensor | None = None
    """(n, C, 1, 1), above 0"""

    def suited(self, shape: torch.Size) -> "Weights":
        """Leave out the weights of directions that a transformed map (n, C, H, W) no longer has."""
        keeps_cells = self.cells is not None and self.cells.shape[2:] == shape[2:]
        keeps_channels = self.channels is not None and self.channels.shape[1] == shape[1]
        return Weights(self.cells if keeps_cells else None, self.channels if keeps_channels else None)

    @property
    def product(self) -> Tensor | None:
        """The weight of each value, (n, C or 1, H or 1, W or 1)."""
        given = [each for each in self if each is not None]
        return None if not given else given[0] if len(given) == 1 else given[0] * given[1]


class Total(NamedTuple):
    """Holds a weighed sum of distances, and what to divide it by for their mean."""

    value: Tensor
    """()"""
    weight: Tensor
    """()"""

    @property
    def mean(self) -> Tensor:
        """The mean over all that counts on all ranks, (); 0 if nothing counts."""
        return self.value / divisor(self.weight, least=torch.finfo(self.weight.dtype).tiny)


def each_standardised(features: Tensor) -> Tensor:
    """Give each channel of each picture (n, C, H, W) the mean 0 and the deviation 1 over its own cells."""
    centred = features - features.mean((2, 3), keepdim=True)
    variance = centred.square().mean((2, 3), keepdim=True)
    return centred / (variance + torch.finfo(features.dtype).eps).sqrt()


def transformed(
    features: Tensor, transform: str, temperature: Temperature, standardise: Callable[[Tensor], Tensor]
) -> Tensor:
    """Apply a transform without parameters to maps (n, C, H, W).

    Args:
        transform: the name of one, as in `spec.methods.Composed.transform`; `context` needs a block of its own.
        temperature: of attention.
        standardise: what standardises `channels`.
    Returns:
        (n, C, H, W); of attention (n, 1, H, W) or (n, C, 1, 1).
    """
    match transform:
        case "channels":
            return standardise(features)
        case "cells":
            return normalize(features, dim=1)
        case "images":
            return normalize(features, dim=0)
        case "map":
            return normalize(features.flatten(1)).view(features.shape)
        case "attention_of_cells":
            return attention(features, temperature)[0][:, None]
        case "attention_of_channels":
            return attention(features, temperature)[1][:, :, None, None]
    return features


def largest_of_squares(student: Tensor, teacher: Tensor, weights: Weights, side: int) -> tuple[Tensor, Tensor, Weights]:
    """Keep the largest value of each square of cells, and the mean weight of its cells.

    Args:
        student: (n, C, H, W), as the teacher.
        side: of a square in cells; squares at the right and lower border may be smaller.
    Returns:
        (n, C, H / side, W / side) each, rounded up.
    """
    if side == 1:
        return student, teacher, weights
    ours, theirs = (max_pool2d(each, side, ceil_mode=True) for each in (student, teacher))
    cells = None if weights.cells is None else avg_pool2d(weights.cells, side, ceil_mode=True)
    return ours, theirs, weights._replace(cells=cells)


def pointwise(power: Literal[1, 2], student: Tensor, teacher: Tensor, weights: Weights, _: Temperature) -> Total:
    """Sum |S - T| or (S - T)^2 of maps (n, C, H, W) with their weights."""
    gap = student - teacher
    return _weighed(gap.abs() if power == 1 else gap.square(), weights.product)


def divergence_over_cells(student: Tensor, teacher: Tensor, weights: Weights, temperature: Temperature) -> Total:
    """Sum T^2 KL(teacher || student) of distributions over the cells of each channel, with the channels' weights.

    The weights of cells are those of the distributions: a cell of weight 0 has the probability 0 in both. A picture
    without any weight does not count.
    """
    flat = None if weights.cells is None else weights.cells.flatten(2)  # (n, 1, cells)
    values, exist = _divergence(student.flatten(2), teacher.flatten(2), 2, flat, temperature)  # (n, C)
    of_channels = exist if weights.channels is None else weights.channels.flatten(1) * exist
    return _weighed(values, of_channels)


def divergence_over_channels(student: Tensor, teacher: Tensor, weights: Weights, temperature: Temperature) -> Total:
    """Sum T^2 KL(teacher || student) of distributions over the channels of each cell, with the cells' weights.

    The weights of channels are those of the distributions.
    """
    flat = None if weights.channels is None else weights.channels.flatten(2)  # (n, C, 1)
    values, _ = _divergence(student.flatten(2), teacher.flatten(2), 1, flat, temperature)  # (n, cells)
    return _weighed(values, None if weights.cells is None else weights.cells.flatten(1))


def relation(student: Tensor, teacher: Tensor, weights: Weights, _: Temperature) -> Total:
    """Sum the squared differences of the cosines between cells, after pooling to at most 8 x 8 of them.

    A pair of cells has the product of their weights; the weights of channels are those of the scalar product. Source:
    the pair-wise distillation of arXiv:1903.04197 §3.1, here between all cells of a picture.
    """
    grid = min(_RELATED, student.shape[2]), min(_RELATED, student.shape[3])
    channels = 1.0 if weights.channels is None else weights.channels.sqrt()
    ours, theirs = (
        normalize(adaptive_avg_pool2d(each * channels, grid).flatten(2), dim=1) for each in (student, teacher)
    )  # (n, C, cells)
    gap = (ours.transpose(1, 2) @ ours - theirs.transpose(1, 2) @ theirs).square()  # (n, cells, cells)
    if weights.cells is None:
        return _weighed(gap, None)
    pooled = adaptive_avg_pool2d(weights.cells, grid).flatten(1)  # (n, cells)
    return _weighed(gap, pooled[:, :, None] * pooled[:, None])


Distance: TypeAlias = Callable[[Tensor, Tensor, Weights, Temperature], Total]
DISTANCES: Mapping[str, Distance] = {
    "l1": partial(pointwise, 1),
    "l2": partial(pointwise, 2),
    "kl_over_cells": divergence_over_cells,
    "kl_over_channels": divergence_over_channels,
    "relation": relation,
}


def _weighed(values: Tensor, weights: Tensor | None) -> Total:
    """Sum values (…) with weights that broadcast to them."""
    if weights is None:
        return Total(values.sum(), values.new_full((), values.numel()))
    return Total((values * weights).sum(), weights.expand_as(values).sum())


def _divergence(
    student: Tensor, teacher: Tensor, dim: int, prior: Tensor | None, temperature: Temperature
) -> tuple[Tensor, Tensor]:
    """Compute T^2 KL of softmax distributions along one of the last dimensions of (n, C, cells).

    Args:
        prior: weights that broadcast to the maps, which multiply both distributions before they are normalised.
    Returns:
        The divergences, (n, cells) or (n, C), and (n, 1) whether the picture has any weight.
    """
    if isinstance(temperature, Tensor):
        temperature = temperature[:, None, None]
    given = [each / temperature for each in (student, teacher)]
    exist = student.new_ones(len(student), 1)
    if prior is not None:
        exist = (prior.amax((1, 2)) > 0).to(student.dtype)[:, None]
        # Not -inf: a picture without any weight would be NaN, in the gradient too.
        log_prior = prior.clamp(min=torch.finfo(prior.dtype).tiny).log()
        given = [each + log_prior for each in given]
    log_q, log_p = (each.log_softmax(dim) for each in given)
    square = temperature**2 if isinstance(temperature, float) else temperature.square().squeeze(2)
    return (log_p.exp() * (log_p - log_q)).sum(dim) * square, exist
