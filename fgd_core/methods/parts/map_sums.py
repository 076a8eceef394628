"""Sums over two feature maps from which FGD's loss follows, in few passes over the maps.

With d = student - teacher, every term of FGD is a function of sums of |student|, |teacher|, d and d^2 over cells or
over channels, and of the two pooled contexts. `scan` reads each map once, `compare` reads both once more, and its
gradient reads both and writes the student's. `passes_for` chooses who does the passes.

Source: derived from the loss of arXiv:2111.11837; tests compare it with the loss as published.
"""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from fgd_core.methods.parts.map_passes import Columns, Rows
from fgd_core.methods.parts.passes_for import passes_for
from fgd_core.methods.parts.precision import exact_type


class Scan(NamedTuple):
    """Holds what one pass over a map (N, C, H, W) with K = H * W cells finds, without gradients."""

    cells: Tensor
    """(N, K) the mean magnitude of the channels of a cell"""
    channels: Tensor
    """(N, C) the mean magnitude of the cells of a channel"""
    means: Tensor
    """(N, C) the mean of the cells of a channel"""
    pooling: Tensor
    """(N, K) the weights of the cells in the pooled context; the sum of an image is 1"""


class Sums(NamedTuple):
    """Holds sums over two maps (N, C, H, W) with K = H * W cells; all have gradients."""

    cells: Tensor
    """(N, K) the mean magnitude of the student's channels in a cell"""
    channels: Tensor
    """(N, C) the mean magnitude of the student's cells of a channel"""
    weighed: Tensor
    """(N, K) the weighted sum over the channels of d^2"""
    centre: Tensor
    """(N, C) a constant close to the mean of d over the cells, without gradient"""
    excess: Tensor
    """(N, C) the sum over the cells of d - centre; almost 0, but not its gradient"""
    spread: Tensor
    """(N, C) the sum over the cells of (d - centre)^2"""
    student_context: Tensor
    """(N, C) the student's cells, averaged with the weights of its pooling"""
    teacher_context: Tensor
    """(N, C)"""

    def squared_with(self, shift: Tensor) -> Tensor:
        """Return the sum of (d + shift)^2 over channels and cells, for a shift (N, C): ().

        The square is expanded about the centre of d. Expanded about 0 it would lose all float32 digits if the shift
        cancels the mean of a channel, as in 100,000 minus 100,000.
        """
        rest = self.centre + shift
        return (self.spread + 2 * rest * self.excess + self.cells.shape[1] * rest.square()).sum()


@torch.no_grad()
def scan(features: Tensor, pool: nn.Conv2d) -> Scan:
    """Read a map (N, C, H, W) once.

    Args:
        pool: scores the cells; the softmax of the scores of an image weighs its cells. Its bias changes nothing.
    """
    flat = features.flatten(2)
    found = passes_for(flat).scan(flat, pool.weight.flatten().to(exact_type(features)))
    _, num_channels, num_cells = flat.shape
    means = found.cells / num_channels, found.channels / num_cells, found.totals / num_cells
    return Scan(*means, found.scores.softmax(1))


def compare(
    student: Tensor,
    teacher: Tensor,
    scans: tuple[Scan, Scan],
    pools: tuple[nn.Conv2d, nn.Conv2d],
    channel_weights: Tensor,
) -> Sums:
    """Sum over two maps (N, C, H, W), with gradients to the student and to the weights of the poolings.

    Args:
        scans: of the student's and of the teacher's map, with these poolings.
        pools: the student's and the teacher's pooling.
        channel_weights: (N, C) the weights of `Sums.weighed`.
    """
    weights = [each for pool in pools for each in (pool.weight, pool.bias)]
    found: tuple[Tensor, ...] = _Compare.apply(student, teacher, scans, channel_weights, *weights)
    return Sums(*found)


class _Context(Protocol):
    """Describes what PyTorch gives an autograd function."""

    saved_tensors: tuple[Tensor, ...]

    def save_for_backward(self, *tensors: Tensor) -> None: ...

    def mark_non_differentiable(self, *tensors: Tensor) -> None: ...


class _Saved(NamedTuple):
    """Holds the tensors that the gradient needs; only the two maps are large."""

    student: Tensor
    """(N, C, H, W)"""
    teacher: Tensor
    student_weight: Tensor
    """(1, C, 1, 1) of the pooling"""
    teacher_weight: Tensor
    student_pooling: Tensor
    """(N, K)"""
    teacher_pooling: Tensor
    student_context: Tensor
    """(N, C)"""
    teacher_context: Tensor
    centre: Tensor
    """(N, C)"""
    channel_weights: Tensor
    """(N, C)"""


class _Compare(torch.autograd.Function):
    """Computes `Sums` in one pass, and the gradients in another."""

    @staticmethod
    def forward(
        ctx: _Context,
        student: Tensor,
        teacher: Tensor,
        scans: tuple[Scan, Scan],
        channel_weights: Tensor,
        *pools: Tensor,
    ) -> tuple[Tensor, ...]:
        """Sum over maps (N, C, H, W); returns the fields of `Sums`."""
        sums = _sums(student.flatten(2), teacher.flatten(2), scans, channel_weights)
        our_weight, _, their_weight, _ = pools
        ours, theirs = scans
        poolings, contexts = (ours.pooling, theirs.pooling), (sums.student_context, sums.teacher_context)
        small = (*poolings, *contexts, sums.centre, channel_weights)
        ctx.save_for_backward(*_Saved(student, teacher, our_weight, their_weight, *small))
        ctx.mark_non_differentiable(sums.centre)
        return tuple(sums)

    @staticmethod
    @once_differentiable
    def backward(ctx: _Context, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of the inputs of `forward`.

        Args:
            slopes: the gradients of the fields of `Sums`.
        """
        saved = _Saved(*ctx.saved_tensors)
        with torch.autocast(saved.student.device.type, enabled=False):
            student, ours, theirs = _gradients(saved, Sums(*slopes))
        # A softmax does not depend on the bias of its input.
        no_bias = ours.new_zeros(1)
        return student, None, None, None, ours, no_bias, theirs, no_bias


def _sums(student: Tensor, teacher: Tensor, scans: tuple[Scan, Scan], channel_weights: Tensor) -> Sums:
    """Sum over maps (N, C, K) with weights of the channels (N, C)."""
    ours, theirs = scans
    centre = ours.means - theirs.means
    poolings = ours.pooling, theirs.pooling
    weighed, *found = passes_for(student, teacher).compare(student, teacher, poolings, centre, channel_weights)
    return Sums(ours.cells, ours.channels, weighed, centre, *found)


def _gradients(saved: _Saved, slopes: Sums) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of the student's map (N, C, H, W) and of the two poolings' weights (1, C, 1, 1)."""
    # Flat from the start: to flatten a map may copy it, and the copy would receive the gradient.
    student, teacher = saved.student.flatten(2), saved.teacher.flatten(2)
    contexts = (slopes.student_context, saved.student_context), (slopes.teacher_context, saved.teacher_context)
    along = [(slope * context).sum(1, keepdim=True) for slope, context in contexts]
    columns, rows = _columns(saved, slopes), _rows(saved, slopes)
    found = passes_for(student, teacher).gradients(student, teacher, columns, rows, along)
    ours, theirs = (each.sum(0)[None, :, None, None] for each in (found.our_weight, found.their_weight))
    return found.student.view(saved.student.shape), ours, theirs


def _columns(saved: _Saved, slopes: Sums) -> Columns:
    """Collect what the gradient needs of each channel."""
    return Columns(
        our_slope=slopes.student_context,
        our_weight=saved.student_weight.flatten().to(slopes.spread.dtype).expand_as(slopes.spread),
        of_weighed=2 * saved.channel_weights,
        of_spread=2 * slopes.spread,
        constant=slopes.excess - 2 * slopes.spread * saved.centre,
        of_sign=slopes.channels / saved.student.shape[2:].numel(),
        their_slope=slopes.teacher_context,
    )


def _rows(saved: _Saved, slopes: Sums) -> Rows:
    """Collect what the gradient needs of each cell."""
    return Rows(saved.student_pooling, saved.teacher_pooling, slopes.weighed, slopes.cells / saved.student.shape[1])
