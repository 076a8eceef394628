"""Normalisation layers by their name in a spec."""

import math
from collections.abc import Callable, Mapping

from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from fgd_core.spec.backbones import Norm


class FixedBatchNorm2d(nn.BatchNorm2d):
    """Batch norm that learns scale and shift and keeps the statistics it was loaded with, as mmdetection trains."""

    def train(self, mode: bool = True) -> "FixedBatchNorm2d":
        super().train(mode=False)
        return self


def group_norm(channels: int) -> nn.GroupNorm:
    """The published 32 groups, or as many as a narrower layer can be divided into."""
    return nn.GroupNorm(math.gcd(channels, 32), channels)


def build_norm(name: Norm) -> Callable[[int], nn.Module]:
    """Channels -> the layer."""
    return _NORMS[name]


_NORMS: Mapping[Norm, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm2d,
    "fixed_batch": FixedBatchNorm2d,
    "frozen_batch": FrozenBatchNorm2d,
    "synchronised_batch": nn.SyncBatchNorm,
    "group": group_norm,
}
