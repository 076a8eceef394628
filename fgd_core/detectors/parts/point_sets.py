"""Converts point sets to boxes (RepPoints, arXiv:1904.11490 §3)."""

import torch
from torch import Tensor

_SMALLEST_VARIANCE = 1e-12


def kernel_grid(side: int, device: torch.device | None = None) -> Tensor:
    """List the sampling points of a side x side convolution: (side^2, 2) of (dy, dx) in cells from its middle.

    The order is row by row, as torchvision's deformable convolution reads its offsets.
    """
    steps = torch.arange(side, dtype=torch.float32, device=device) - (side - 1) / 2
    return torch.cartesian_prod(steps, steps)


def moment_box(points: Tensor, transfer: Tensor) -> Tensor:
    """Compute the box around the mean of the points; its half sides are their deviation times a learned factor.

    Args:
        points: (..., n, 2) of (y, x), n > 1.
        transfer: (2,) logarithms of the factors of width and height. They get a hundredth of their gradient, because
            every box of a batch contributes to it.
    Returns:
        (..., 4) xyxy in the unit of the points.
    """
    transfer = 0.01 * transfer + 0.99 * transfer.detach()
    xy = points.flip(-1)
    centre = xy.mean(-2)
    # Not `var`, which warns if there are no point sets.
    variance = (xy - centre.unsqueeze(-2)).square().sum(-2) / (xy.shape[-2] - 1)
    # Points that coincide have variance 0, where the gradient of the root is infinite.
    reach = variance.clamp(min=_SMALLEST_VARIANCE).sqrt() * transfer.exp()
    return torch.cat([centre - reach, centre + reach], dim=-1)
