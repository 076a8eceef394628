"""Builds normalisation layers by their name in a spec."""

import math
from collections.abc import Callable, Mapping
from functools import partial

from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from fgd_core.batch_norm import BatchNorm2d
from fgd_core.spec.backbones import Norm


class FixedBatchNorm2d(nn.BatchNorm2d):
    """Trains scale and shift but keeps the loaded statistics, as mmdetection does."""

    def train(self, mode: bool = True) -> "FixedBatchNorm2d":
        """Stay in eval mode, whatever `mode` is."""
        super().train(mode=False)
        return self


def group_norm(channels: int) -> nn.GroupNorm:
    """Build a group norm with 32 groups, as published, or as many of at least two channels as a narrower layer allows.

    A group of one channel has a single number on a map of one cell, and normalisation would turn it into zero.
    """
    groups = math.gcd(channels, 32)
    return nn.GroupNorm(groups if groups < channels else max(1, groups // 2), channels)


def build_norm(name: Norm, *, eps: float = 1e-5, momentum: float = 0.1) -> Callable[[int], nn.Module]:
    """Return a function from the number of channels to the layer.

    Args:
        eps: added to the variance; pretrained weights need the value that they were trained with.
        momentum: the share of a batch in the running statistics.
    """
    match name:
        case "batch" | "fixed_batch" | "synchronised_batch":
            return partial(_BATCH_NORMS[name], eps=eps, momentum=momentum)
        case "frozen_batch":
            return partial(FrozenBatchNorm2d, eps=eps)
        case "group":
            return group_norm


_BATCH_NORMS: Mapping[str, type[nn.BatchNorm2d]] = {
    "batch": BatchNorm2d,
    "fixed_batch": FixedBatchNorm2d,
    "synchronised_batch": BatchNorm2d,
}
