"""Batch normalisation for modules that train with a student and are never evaluated."""

from torch import Tensor

from fgd_core.batch_norm import BatchNorm2d
from fgd_core.ranks import world_size


class BatchNorm(BatchNorm2d):
    """Normalises each channel with the statistics of the batch; it keeps no running statistics.

    A channel with a single value becomes the bias. torch's own module refuses it.
    """

    def __init__(self, channels: int, *, epsilon: float = 1e-5) -> None:
        super().__init__(channels, eps=epsilon, track_running_stats=False)

    def forward(self, features: Tensor) -> Tensor:
        """Normalise (N, C, H, W)."""
        if features.numel() * world_size() > features.shape[1]:
            return super().forward(features)
        deviation = 0 * features  # from the mean, which is the value itself
        return deviation * self.weight[:, None, None] + self.bias[:, None, None]
