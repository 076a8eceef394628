"""Computes losses in float32, whatever the precision of the networks."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


@contextmanager
def in_float32(*features: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Switch autocast off and yield the tensors (…) in float32 at least; float64 stays.

    bfloat16 has 8 bits of mantissa: a sum over 10,000 cells would lose nearly all of them.
    """
    with torch.autocast(features[0].device.type, enabled=False):
        yield tuple(each.to(exact_type(each)) for each in features)


def exact_type(features: Tensor) -> torch.dtype:
    """Return the type in which sums over a tensor (…) are exact enough: float32 at least; float64 stays."""
    return torch.promote_types(features.dtype, torch.float32)
