"""Spatial and channel attention of a feature map."""

import torch
from torch import Tensor


def attention(features: Tensor, temperature: float | Tensor) -> tuple[Tensor, Tensor]:
    """Compute the spatial and the channel attention of a map from its magnitudes.

    Args:
        features: (N, C, H, W).
        temperature: of both softmaxes; a tensor (N,) has one for each image.
    Returns:
        Spatial (N, H, W) and channel (N, C) attention, each with mean 1 over an image.
    """
    magnitude = features.abs()
    cells, channel = attention_of_means(magnitude.mean(1).flatten(1), magnitude.mean((2, 3)), temperature)
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
