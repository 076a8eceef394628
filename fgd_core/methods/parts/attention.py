"""Spatial and channel attention of a feature map."""

from torch import Tensor


def attention(features: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Compute the spatial and the channel attention of a map from its magnitudes.

    Args:
        features: (N, C, H, W).
        temperature: of both softmaxes.
    Returns:
        Spatial (N, H, W) and channel (N, C) attention, each with mean 1 over an image.
    """
    _, channels, height, width = features.shape
    magnitude = features.abs()
    spatial = (magnitude.mean(1) / temperature).flatten(1).softmax(1).view(-1, height, width) * (height * width)
    channel = (magnitude.mean((2, 3)) / temperature).softmax(1) * channels
    return spatial, channel
