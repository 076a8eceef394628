"""Spatial and channel attention of a feature map."""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fgd_core.methods.parts.channel_passes import signed
from fgd_core.methods.parts.passes_for import passes_for
from fgd_core.methods.parts.precision import exact_type


def attention(features: Tensor, temperature: float | Tensor) -> tuple[Tensor, Tensor]:
    """Compute the spatial and the channel attention of a map from its magnitudes, in one pass over the map.

    Args:
        features: (N, C, H, W), of any precision.
        temperature: of both softmaxes; a tensor (N,) has one for each image.
    Returns:
        Spatial (N, H, W) and channel (N, C) attention, each with mean 1 over an image.
    """
    means = _Means(*_Magnitudes.apply(features))
    cells, channel = attention_of_means(means.cells, means.channels, temperature)
    return cells.view(-1, *features.shape[2:]), channel


def attention_of_means(cells: Tensor, channels: Tensor, temperature: float | Tensor) -> tuple[Tensor, Tensor]:
    """Compute the attention from the mean magnitudes of the cells (N, K) and of the channels (N, C).

    Args:
        temperature: see `attention`.
    Returns:
        Spatial (N, K) and channel (N, C) attention.
    """
    if isinstance(temperature, Tensor):
        temperature = temperature[:, None]
    spatial, channel = ((means / temperature).softmax(1) * means.shape[1] for means in (cells, channels))
    return spatial, channel


def temperature_of(features: Tensor) -> Tensor:
    """Return the mean magnitude of each image of a map (N, C, H, W), the temperature that suits it: (N,).

    The attention is then the same for features of any magnitude. It is that of the published temperature, 0.5, for
    features of the magnitude 0.5.
    """
    return temperature_of_means(features.abs().mean((2, 3)))


def temperature_of_means(channels: Tensor) -> Tensor:
    """Return the temperature of `temperature_of` from the mean magnitudes of the channels (N, C): (N,)."""
    return channels.mean(1).clamp(min=torch.finfo(channels.dtype).tiny)


class Gap(NamedTuple):
    """Holds how far the attention of one map is from that of another, over K cells or channels."""

    distance: Tensor
    """()"""
    slope: Tensor
    """(N, K) the gradient of the distance by the student's values"""
    theirs: Tensor
    """(N, K) the teacher's attention; the sum of an image is 1"""


def gap(ours: Tensor, theirs: Tensor, temperature: float | Tensor, weight: float) -> Gap:
    """Sum the distances of the softmaxes of two tensors (N, K), times a weight, without autograd."""
    shares, their_shares = ((each / temperature).softmax(1) for each in (ours, theirs))
    difference = shares - their_shares
    along = difference.sign() * shares
    slope = torch.addcmul(along, shares, along.sum(1, keepdim=True), value=-1) * (weight / temperature)
    return Gap(weight * torch.linalg.vector_norm(difference, 1), slope, their_shares)


class _Context(Protocol):
    """Describes what PyTorch gives an autograd function."""

    saved_tensors: tuple[Tensor, ...]

    def save_for_backward(self, *tensors: Tensor) -> None: ...


class _Means(NamedTuple):
    """Holds mean magnitudes."""

    cells: Tensor
    """(N, K)"""
    channels: Tensor
    """(N, C)"""


class _Magnitudes(torch.autograd.Function):
    """Computes the mean magnitudes of the cells and of the channels of a map in one pass, and the gradient in one."""

    @staticmethod
    def forward(ctx: _Context, features: Tensor) -> tuple[Tensor, ...]:
        """Read a map (N, C, H, W); returns the fields of `_Means`."""
        flat = features.flatten(2)
        _, num_channels, num_cells = flat.shape
        # The scan also weighs the channels, which costs nothing: it waits for the memory.
        found = passes_for(flat).scan(flat, flat.new_zeros(num_channels, dtype=exact_type(features)))
        ctx.save_for_backward(features)
        return _Means(found.cells / num_channels, found.channels / num_cells)

    @staticmethod
    @once_differentiable
    def backward(ctx: _Context, *slopes: Tensor) -> Tensor:
        """Return the gradient (N, C, H, W) from those of the fields of `_Means`."""
        (features,) = ctx.saved_tensors
        flat, means = features.flatten(2), _Means(*slopes)
        _, num_channels, num_cells = flat.shape
        return signed(flat, means.channels / num_cells, means.cells / num_channels).view(features.shape)
