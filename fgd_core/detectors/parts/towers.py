"""Builds and initialises the stacks of convolutions between a pyramid and the outputs of a head."""

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor, nn

from fgd_core.detectors.parts.deformable import DeformConv2d

Tower: TypeAlias = nn.ModuleList | nn.Sequential
"""Blocks of a convolution, an optional norm and a ReLU, each after the one before."""

_PUBLISHED_WIDTH = 256
_PUBLISHED_DEVIATION = 0.01
_PRIOR = 0.01
"""The probability of each class at each location in a new head."""


def conv_tower(width: int, depth: int, norm: Callable[[int], nn.Module] | None, *, num_added: int = 0) -> nn.ModuleList:
    """Build 3x3 convolutions with ReLU, with mmdetection's names: `0.conv`, `0.gn`, `1.conv`, ….

    A convolution has a bias unless a norm follows it.

    Args:
        num_added: channels of the input beyond `width`.
    """
    return nn.ModuleList(_conv_block(width, norm, 0 if index else num_added) for index in range(depth))


def apply_tower(tower: Tower, features: Tensor) -> Tensor:
    """Run all blocks of a tower: (N, C, H, W) to (N, C, H, W)."""
    for block in tower:
        features = block(features)
    return features


def depth_of(tower: Tower) -> int:
    """Count the convolutions of a tower; an activation follows each."""
    return sum(isinstance(layer, nn.ReLU) for layer in tower.modules())


def start_tower(tower: Tower, features: Tensor, depth: int) -> Tensor:
    """Run the first `depth` convolutions: (N, C, H, W) to the map (N, C, H, W) before the activation of the last."""
    before, _ = _split(tower, depth)
    for layer in before:
        features = layer(features)
    return features


def finish_tower(tower: Tower, features: Tensor, depth: int) -> Tensor:
    """Run what follows `start_tower` of the same depth: (N, C, H, W) to (N, C, H, W)."""
    _, after = _split(tower, depth)
    features = features.relu()  # not the tower's own ReLU, which may change the caller's map
    for layer in after:
        features = layer(features)
    return features


def _split(tower: Tower, depth: int) -> tuple[list[nn.Module], list[nn.Module]]:
    """Split the layers of a tower at its ReLU number `depth`, counted from 1, which is in neither part."""
    layers = [layer for layer in tower.modules() if not any(layer.children())]
    activations = [index for index, layer in enumerate(layers) if isinstance(layer, nn.ReLU)]
    if not 1 <= depth <= len(activations):
        raise ValueError(f"a tower has no depth {depth}; choose from 1 to its {len(activations)} convolutions")
    cut = activations[depth - 1]
    return layers[:cut], layers[cut + 1 :]


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
    init_low_scores(classifier)


def init_low_scores(predictor: nn.Conv2d) -> None:
    """Set the bias so that the first probabilities are near 0.01."""
    assert predictor.bias is not None
    nn.init.constant_(predictor.bias, -math.log(1 / _PRIOR - 1))


@torch.no_grad()
def scale_init(layers: nn.Module, width: int) -> None:
    """Scale the initial weights of all convolutions in `layers` for a width other than the published one.

    The published standard deviation of 0.01 halves the signal at 256 channels. At 64 channels it would leave a quarter,
    and less after each further convolution: the head would learn nothing for many epochs.
    """
    for layer in layers.modules():
        if isinstance(layer, nn.Conv2d):
            layer.weight *= (_PUBLISHED_WIDTH / width) ** 0.5


def _conv_block(width: int, norm: Callable[[int], nn.Module] | None, num_added: int) -> nn.Sequential:
    conv = nn.Conv2d(width + num_added, width, 3, padding=1, bias=norm is None)
    parts: list[tuple[str, nn.Module]] = [("conv", conv)]
    if norm is not None:
        parts.append(("gn", norm(width)))
    return nn.Sequential(OrderedDict([*parts, ("relu", nn.ReLU())]))
