"""Imitates a map where a mask weighs the cells."""

import torch
from torch import Tensor, nn

from fgd_core.ranks import divisor


def masked_difference(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Compute sum(M (S - T)^2) / (2 sum(M)), where M is the mask, the same for all channels.

    Source: DeFeat's code, which also gives the divisor: it is at least 1, so a mask without a cell gives 0.

    Args:
        student: (N, C, H, W), float32 or float64.
        teacher: (N, C, H, W).
        mask: (N, H, W) weights of the cells.
    Returns:
        Scalar ().
    """
    weighed = (student - teacher).square().sum(1) * mask  # (N, H, W)
    return weighed.sum() / divisor(2 * student.shape[1] * mask.sum())


def near_zero_convolution(student_channels: int, teacher_channels: int) -> nn.Conv2d:
    """Build DeFeat's trained 3x3 convolution of a student's map (N, C, H, W); its weights start near zero."""
    convolution = nn.Conv2d(student_channels, teacher_channels, 3, padding=1)
    with torch.no_grad():
        convolution.weight.normal_().fmod_(2).mul_(1e-4)
    return convolution
