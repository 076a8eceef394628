"""Feature-based knowledge distillation (FKD, ICLR 2021, openreview.net/forum?id=uKhGRvM8QNH).

With the spatial attention A as in FGD, the mean of both networks' A as mask M, and trained adapters f, the terms are
  masked    || sqrt(M) (f(S) - T) ||
  channel   || f(mean over space of S) - mean over space of T ||
  spatial   || f(mean over channels of S) - mean over channels of T ||
  relation  || f(R_S(S)) - R_T(T) ||
Each norm is the L2 norm of the whole batch, over all ranks. The non-local blocks R_S and R_T train with the student and
are discarded. The authors compute a channel mask too, but do not use it. Source: mmrazor's code.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d

from fgd_core.methods.base import Lesson, LevelPair, Terms
from fgd_core.methods.parts.attention import attention
from fgd_core.methods.parts.batch_norm import BatchNorm
from fgd_core.methods.parts.precision import in_float32
from fgd_core.methods.per_level import per_level
from fgd_core.ranks import norm_over_ranks
from fgd_core.spec.methods.fbkd import Fbkd

_POOLED_CELLS = (16, 8, 4)
"""Side of the cells that the non-local block of a level pools to one, from the finest level on; the last holds for all
coarser levels. mmrazor's configuration says 8, 4, 2; a block that it builds on pools by 2 before."""
_REDUCTIONS = (4, 4, 2)
"""Channels of a map per channel of its non-local block, likewise."""


def masked_norm(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Compute the L2 norm of the difference of two maps, weighed by a mask.

    Args:
        student: (N, C, H, W), float32 or float64.
        teacher: (N, C, H, W).
        mask: (N, H, W), at least 0; weighs the squared difference.
    Returns:
        Scalar (); its gradient is 0 where the maps are equal, not NaN.
    """
    return norm_over_ranks(mask.sqrt()[:, None] * (student - teacher))


class NonLocal(nn.Module):
    """Adds to each cell what it has in common with all cells (arXiv:1711.07971, dot products without a softmax).

    The last norm starts at zero, so the block starts as the identity.

    Args:
        channels: C of the map.
        hidden: channels of the dot products.
        pooled: side in cells of the squares whose maximum stands for their cells; smaller if the map is.
    """

    def __init__(self, channels: int, hidden: int, pooled: int) -> None:
        super().__init__()
        self._pooled = pooled
        self.query, self.key, self.value = (nn.Conv2d(channels, hidden, 1) for _ in range(3))
        for each in (self.query, self.key, self.value):
            nn.init.normal_(each.weight, std=0.01)
            assert each.bias is not None
            nn.init.zeros_(each.bias)
        self.out = nn.Conv2d(hidden, channels, 1, bias=False)
        self.norm = BatchNorm(channels)
        nn.init.zeros_(self.norm.weight)

    def forward(self, features: Tensor) -> Tensor:
        """Relate the cells of a map: (N, C, H, W) to (N, C, H, W)."""
        height, width = features.shape[2:]
        side = (min(self._pooled, height), min(self._pooled, width))
        key, value = (max_pool2d(each(features), side).flatten(2) for each in (self.key, self.value))  # (N, hidden, M)
        # The product of key and value first, (hidden, hidden): the matrix of relations (HW, M) would take more memory.
        common = torch.einsum("nkm,nvm->nkv", key, value) / key.shape[2]
        related = torch.einsum("nkhw,nkv->nvhw", self.query(features), common)
        normed: Tensor = self.norm(self.out(related))
        return features + normed


class FbkdLoss(nn.Module):
    """Computes the four terms of one pair of levels."""

    def __init__(self, method: Fbkd, pair: LevelPair) -> None:
        super().__init__()
        ours, theirs = pair.student_channels, pair.teacher_channels
        self.masked_adapter = nn.Conv2d(ours, theirs, 1)
        self.channel_adapter = nn.Linear(ours, theirs)
        self.spatial_adapter = nn.Conv2d(1, 1, 3, padding=1)
        self.relation_adapter = nn.Conv2d(ours, theirs, 1)
        self.student_relation, self.teacher_relation = (_non_local(each, pair.position) for each in (ours, theirs))
        self._method = method

    def forward(self, student: Tensor, teacher: Tensor, lesson: Lesson) -> Terms:
        """Compare maps (N, C, H, W)."""
        with in_float32(student, teacher.detach()) as (ours, theirs):
            related = self.relation_adapter(self.student_relation(ours)) - self.teacher_relation(theirs)
            parts = {
                "masked": masked_norm(self.masked_adapter(ours), theirs, self._mask(ours, theirs)),
                "channel": norm_over_ranks(self.channel_adapter(ours.mean((2, 3))) - theirs.mean((2, 3))),
                "spatial": norm_over_ranks(self.spatial_adapter(_over_channels(ours)) - _over_channels(theirs)),
                "relation": norm_over_ranks(related),
            }
        return Terms(parts, {name: getattr(self._method, name) for name in parts})

    @torch.no_grad()
    def _mask(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Compute the mean spatial attention of maps (N, C, H, W): (N, H, W)."""
        ours, theirs = (attention(each, self._method.temperature)[0] for each in (student, teacher))
        return (ours + theirs) / 2


def _over_channels(features: Tensor) -> Tensor:
    """Average a map over its channels: (N, C, H, W) to (N, 1, H, W)."""
    return features.mean(1, keepdim=True)


def _non_local(channels: int, level: int) -> NonLocal:
    index = min(level, len(_POOLED_CELLS) - 1)
    return NonLocal(channels, max(1, channels // _REDUCTIONS[index]), _POOLED_CELLS[index])


build_fbkd = per_level(FbkdLoss)
