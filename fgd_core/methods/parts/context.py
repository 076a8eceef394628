"""What a global-context block adds to all cells of a map, and its gradient by hand; see `ContextBlock` of FGD.

For a context of a few images, PyTorch's modules and their nodes take longer than the arithmetic.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Block(NamedTuple):
    """Holds the parameters of a block with C channels and D hidden ones, or their gradients."""

    pool: Tensor
    """(1, C, 1, 1)"""
    pool_bias: Tensor
    """(1,)"""
    first: Tensor
    """(D, C, 1, 1)"""
    first_bias: Tensor
    """(D,)"""
    scale: Tensor
    """(D, 1, 1), and `offset`, of the norm"""
    offset: Tensor
    last: Tensor
    """(C, D, 1, 1)"""
    last_bias: Tensor
    """(C,)"""


class Added(NamedTuple):
    """Holds what a block computes from a context (N, C), and what its gradient needs."""

    context: Tensor
    hidden: Tensor
    """(N, D)"""
    mean: Tensor
    """(N, 1), and `scale`, of the norm"""
    scale: Tensor
    active: Tensor
    """(N, D)"""
    result: Tensor
    """(N, C)"""


def added(block: Block, context: Tensor, eps: float = 1e-5) -> Added:
    """Compute what a block adds for a context (N, C)."""
    hidden = torch.addmm(block.first_bias, context, block.first.flatten(1).mT)
    norm = block.scale.flatten(), block.offset.flatten()
    normed, mean, scale = torch.native_layer_norm(hidden, hidden.shape[1:], *norm, eps)
    active = normed.relu()
    return Added(context, hidden, mean, scale, active, torch.addmm(block.last_bias, active, block.last.flatten(1).mT))


def gradients(block: Block, found: Added, slope: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return the gradients of the context (N, C) and of the six parameters behind the pooling.

    Args:
        slope: (N, C) the gradient of the result.
    """
    into = (slope @ block.last.flatten(1)).masked_fill(found.active <= 0, 0)
    norm = found.mean, found.scale, block.scale.flatten(), block.offset.flatten()
    hidden, of_scale, of_offset = torch.ops.aten.native_layer_norm_backward(
        into, found.hidden, into.shape[1:], *norm, [True, True, True]
    )
    of_weights = (hidden.mT @ found.context, hidden.sum(0), of_scale, of_offset, slope.mT @ found.active, slope.sum(0))
    shaped = tuple(each.view(parameter.shape) for each, parameter in zip(of_weights, block[2:], strict=True))
    return hidden @ block.first.flatten(1), shaped
