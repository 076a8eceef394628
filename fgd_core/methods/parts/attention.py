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
    _, channels, height, width = features.shape
    magnitude = features.abs()
    if isinstance(temperature, Tensor):
        temperature = temperature[:, None]
    spatial = (magnitude.mean(1).flatten(1) / temperature).softmax(1).view(-1, height, width) * (height * width)
    channel = (magnitude.mean((2, 3)) / temperature).softmax(1) * channels
    return spatial, channel


def temperature_of(features: Tensor) -> Tensor:
    """Return the mean magnitude of each image of a map (N, C, H, W), the temperature that suits it: (N,).

    The attention is then the same for features of any magnitude. It is that of the published temperature, 0.5, for
    features of the magnitude 0.5.
    """
    return features.abs().mean((1, 2, 3)).clamp(min=torch.finfo(features.dtype).tiny)
