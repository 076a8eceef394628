"""Objects as sets of points, and the box that a set stands for (RepPoints, arXiv:1904.11490 §3)."""

import torch
from torch import Tensor

_SMALLEST_VARIANCE = 1e-12


def kernel_grid(side: int, device: torch.device | None = None) -> Tensor:
    """Where a side x side convolution looks: (side^2, 2) of (dy, dx) in cells from its middle, row by row.

    It is the order in which torchvision's deformable convolution reads its offsets.
    """
    steps = torch.arange(side, dtype=torch.float32, device=device) - (side - 1) / 2
    return torch.cartesian_prod(steps, steps)


def moment_box(points: Tensor, transfer: Tensor) -> Tensor:
    """The box around the mean of the points that reaches as far as their deviation, scaled by a learned factor.

    Args:
        points: (..., n, 2) of (y, x), n > 1.
        transfer: (2,) the logarithms of the factors on width and height; they get a hundredth of their gradient, for
            each is moved by every box of a batch.
    Returns:
        (..., 4) xyxy in the unit of the points.
    """
    transfer = 0.01 * transfer + 0.99 * transfer.detach()
    xy = points.flip(-1)
    centre = xy.mean(-2)
    # By hand, for `var` warns where there is no set at all.
    variance = (xy - centre.unsqueeze(-2)).square().sum(-2) / (xy.shape[-2] - 1)
    # Points that coincide have no deviation, and the root no finite gradient there.
    reach = variance.clamp(min=_SMALLEST_VARIANCE).sqrt() * transfer.exp()
    return torch.cat([centre - reach, centre + reach], dim=-1)
