"""The focal loss (arXiv:1708.02002) of classes at all locations, in few passes over the logits."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol, TypeAlias

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import softplus

from fgd_core.outputs import IGNORED

_ALPHA = 0.25
"""The weight of an object; the background has the rest. The exponent is 2."""
_BLOCK_VALUES = 65536
"""Logits of a block on a CPU: 256 kB, so that all operations on a block find it in the cache. It does not depend on the
number of threads, so neither does the order of the sums over blocks."""


def focal_losses(logits: Tensor, classes: Tensor) -> Tensor:
    """Compute the focal loss of each location, summed over the classes.

    A location with an object trains its class, and all others are 0 there; background trains all classes towards 0.

    Args:
        logits: (N, A, K).
        classes: (N, A) int64, the class of the object at each location, BACKGROUND or IGNORED.
    Returns:
        (N, A) float32, or float64 of float64 logits; 0 where the location is ignored.
    """
    losses: Tensor = _FocalLosses.apply(logits, classes)
    return losses


class _Context(Protocol):
    """Describes what PyTorch gives an autograd function."""

    saved_tensors: tuple[Tensor, ...]

    def save_for_backward(self, *tensors: Tensor) -> None: ...


class _FocalLosses(torch.autograd.Function):
    """Computes the losses and, in the same pass, their gradients: PyTorch would keep a dozen tensors of their size."""

    @staticmethod
    def forward(ctx: _Context, logits: Tensor, classes: Tensor) -> Tensor:
        """Compute the losses (N, A) of logits (N, A, K)."""
        exact = torch.promote_types(logits.dtype, torch.float32)
        losses = torch.empty(classes.shape, dtype=exact, device=logits.device)
        # Contiguous, so that a block is a view.
        gradient = torch.empty_like(logits, memory_format=torch.contiguous_format)
        is_counted = (classes != IGNORED).to(exact)[..., None]
        for values, own, counted, into in _blocks([logits, losses[..., None], is_counted, gradient]):
            of_background = _of_background(values.to(exact))
            torch.sum(of_background.loss, -1, keepdim=True, out=own)
            torch.mul(of_background.slope, counted, out=into)
        losses *= is_counted[..., 0]
        _correct_at_objects(logits, classes, losses, gradient)
        ctx.save_for_backward(gradient)
        return losses

    @staticmethod
    @once_differentiable
    def backward(ctx: _Context, slopes: Tensor) -> tuple[Tensor, None]:
        """Return the gradient (N, A, K) from that of the losses, (N, A)."""
        (gradient,) = ctx.saved_tensors
        return gradient * slopes[..., None].to(gradient.dtype), None


class _Focal(NamedTuple):
    """Holds the losses of logits and their derivatives, of the same shape."""

    loss: Tensor
    slope: Tensor


def _of_background(logits: Tensor) -> _Focal:
    """Compute (1 - alpha) p^2 softplus(x) for logits x (…), where p is the probability."""
    probability, surprise = logits.sigmoid(), softplus(logits)
    weight = probability.square().mul_(1 - _ALPHA)
    loss = weight * surprise
    # (1 - alpha) p^2 (2 (1 - p) softplus(x) + p)
    slope = torch.addcmul(surprise, surprise, probability, value=-1).mul_(2).add_(probability).mul_(weight)
    return _Focal(loss, slope)


def _of_object(logits: Tensor) -> _Focal:
    """Compute alpha (1 - p)^2 softplus(-x) for logits x (…): that of background, mirrored."""
    mirrored = _of_background(-logits)
    factor = _ALPHA / (1 - _ALPHA)
    return _Focal(mirrored.loss * factor, mirrored.slope * -factor)


def _correct_at_objects(logits: Tensor, classes: Tensor, losses: Tensor, gradient: Tensor) -> None:
    """Replace the background's loss (N, A) and gradient (N, A, K) at the class of each object, in place."""
    index, has_object = classes.clamp(min=0)[..., None], (classes >= 0)[..., None]
    chosen = logits.gather(2, index).to(losses.dtype)  # (N, A, 1)
    background, own = _of_background(chosen), _of_object(chosen)
    losses += (own.loss - background.loss).masked_fill(~has_object, 0)[..., 0]
    kept = gradient.gather(2, index)
    gradient.scatter_(2, index, torch.where(has_object, own.slope.to(kept.dtype), kept))


Tensors: TypeAlias = Sequence[Tensor]


def _blocks(tensors: Tensors) -> Iterator[Tensors]:
    """Yield blocks (n, K or 1) of some locations of tensors (N, A, K or 1), as views if they are contiguous.

    On other devices than a CPU, the only block is the tensors themselves.
    """
    if tensors[0].device.type != "cpu":
        yield tensors
        return
    step = max(1, _BLOCK_VALUES // tensors[0].shape[2])
    yield from zip(*(torch.split(each.flatten(0, 1), step) for each in tensors), strict=True)
