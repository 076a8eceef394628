"""Counts that the processes of a distributed training share."""

import torch.distributed as dist
from torch import Tensor


def mean_over_ranks(count: Tensor) -> Tensor:
    """The mean of a scalar over all processes, without gradient; the scalar itself where there is but one.

    Gradients are averaged over processes, so a loss that each divides by this mean is divided by the sum over all.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return count.detach()
    total = count.detach().clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()
