"""Normalisation layers by their name in a spec."""

import math
from collections.abc import Callable, Mapping
from functools import partial

from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from fgd_core.spec.backbones import Norm


class FixedBatchNorm2d(nn.BatchNorm2d):
    """Batch norm that learns scale and shift and keeps the statistics it was loaded with, as mmdetection trains."""

    def train(self, mode: bool = True) -> "FixedBatchNorm2d":
        super().train(mode=False)
        return self


def group_norm(channels: int) -> nn.GroupNorm:
    """The published 32 groups, or as many of at least two channels as a narrower layer can be divided into.

    A group of one channel would have one number on a map of one cell, and nothing is left of that once normalised.
    """
    groups = math.gcd(channels, 32)
    return nn.GroupNorm(groups if groups < channels else max(1, groups // 2), channels)


def build_norm(name: Norm, *, eps: float = 1e-5, momentum: float = 0.1) -> Callable[[int], nn.Module]:
    """Channels -> the layer.

    Args:
        eps: added to the variance; a network's pretrained weights belong to the one they were trained with.
        momentum: the share of a batch in the running statistics.
    """
    match name:
        case "batch" | "fixed_batch" | "synchronised_batch":
            return partial(_BATCH_NORMS[name], eps=eps, momentum=momentum)
        case "frozen_batch":
            return partial(FrozenBatchNorm2d, eps=eps)
        case "group":
            return group_norm


# Without a group of processes a synchronised one is a plain batch norm, also on the CPU.
_BATCH_NORMS: Mapping[str, type[nn.BatchNorm2d | nn.SyncBatchNorm]] = {
    "batch": nn.BatchNorm2d,
    "fixed_batch": FixedBatchNorm2d,
    "synchronised_batch": nn.SyncBatchNorm,
}
