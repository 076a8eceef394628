"""Batch normalisation with the statistics of the global batch, whatever the number of processes that share it."""

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules._functions import SyncBatchNorm

from fgd_core.ranks import sum_over_ranks, total_over_ranks, world_size

_AXES = (0, 2, 3)


class BatchNorm2d(nn.BatchNorm2d):
    """Normalises each channel; with several ranks, by the mean and variance over the cells of all ranks.

    Every rank must run the module, if need be on no cells at all. It is no `nn.SyncBatchNorm`, which refuses tensors on
    the CPU, and which `DistributedDataParallel` refuses there; on a GPU it computes the same, with the same kernels.
    """

    def forward(self, features: Tensor) -> Tensor:
        """Normalise (N, C, H, W); N may be 0 on some ranks."""
        if not self.training or world_size() == 1:
            return super().forward(features)
        assert self.momentum is not None, "a moving average of the statistics"
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        return self._on_gpu(features, self.momentum) if features.is_cuda else self._on_cpu(features, self.momentum)

    def _on_gpu(self, features: Tensor, momentum: float) -> Tensor:
        """Normalise (N, C, H, W) of this rank."""
        statistics = self.running_mean, self.running_var, self.eps, momentum
        group = dist.group.WORLD, world_size()
        normed: Tensor = SyncBatchNorm.apply(features, self.weight, self.bias, *statistics, *group)
        return normed

    def _on_cpu(self, features: Tensor, momentum: float) -> Tensor:
        """Normalise (N, C, H, W) of this rank."""
        values = features.to(torch.promote_types(features.dtype, torch.float32))
        count = total_over_ranks(values.new_tensor(features.numel() // features.shape[1])).clamp(min=1)
        mean = sum_over_ranks(values.sum(_AXES)) / count
        deviation = values - mean[:, None, None]
        variance = sum_over_ranks(deviation.square().sum(_AXES)) / count
        if self.running_mean is not None and self.running_var is not None:
            self.running_mean.lerp_(mean.detach(), momentum)
            self.running_var.lerp_(variance.detach() * count / (count - 1).clamp(min=1), momentum)
        factor = self.weight * (variance + self.eps).rsqrt()
        return (deviation * factor[:, None, None] + self.bias[:, None, None]).to(features.dtype)
