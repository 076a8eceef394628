"""Builds and initialises the stacks of convolutions between a pyramid and the outputs of a head."""

import math
from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor, nn

from fgd_core.detectors.parts.deformable import DeformConv2d

_PUBLISHED_WIDTH = 256
_PUBLISHED_DEVIATION = 0.01
_PRIOR = 0.01
"""The probability of each class at each location in a new head."""


def conv_tower(width: int, depth: int, norm: Callable[[int], nn.Module] | None) -> nn.ModuleList:
    """Build 3x3 convolutions with ReLU, with mmdetection's names: `0.conv`, `0.gn`, `1.conv`, ….

    A convolution has a bias unless a norm follows it.
    """
    return nn.ModuleList(_conv_block(width, norm) for _ in range(depth))


def apply_tower(tower: nn.ModuleList, features: Tensor) -> Tensor:
    """Run all blocks of a tower: (N, C, H, W) to (N, C, H, W)."""
    for block in tower:
        features = block(features)
    return features


@torch.no_grad()
def init_head(head: nn.Module, width: int, *, classifier: nn.Conv2d) -> None:
    """Initialise a head as published: a standard deviation of 0.01, and a low score for every class.

    A narrower head gets a larger deviation that keeps the signal as strong; see `scale_init`.
    """
    for layer in head.modules():
        if isinstance(layer, nn.Conv2d | DeformConv2d):
            nn.init.normal_(layer.weight, std=_PUBLISHED_DEVIATION * (_PUBLISHED_WIDTH / width) ** 0.5)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    assert classifier.bias is not None
    nn.init.constant_(classifier.bias, -math.log(1 / _PRIOR - 1))


@torch.no_grad()
def scale_init(layers: nn.Module, width: int) -> None:
    """Scale the initial weights of all convolutions in `layers` for a width other than the published one.

    The published standard deviation of 0.01 halves the signal at 256 channels. At 64 channels it would leave a quarter,
    and less after each further convolution: the head would learn nothing for many epochs.
    """
    for layer in layers.modules():
        if isinstance(layer, nn.Conv2d):
            layer.weight *= (_PUBLISHED_WIDTH / width) ** 0.5


def _conv_block(width: int, norm: Callable[[int], nn.Module] | None) -> nn.Sequential:
    parts: list[tuple[str, nn.Module]] = [("conv", nn.Conv2d(width, width, 3, padding=1, bias=norm is None))]
    if norm is not None:
        parts.append(("gn", norm(width)))
    return nn.Sequential(OrderedDict([*parts, ("relu", nn.ReLU())]))
