"""Sums over two feature maps from which FGD's loss follows, in few passes over the maps.

With d = student - teacher, every term of FGD is a function of sums of |student|, |teacher|, d and d^2 over cells or
over channels, and of the two pooled contexts. `scan` reads each map once, `compare` reads both once more, and its
gradient reads both twice and writes the student's. On a CPU a pass goes block by block: all operations on a block find
it in the cache, and no further tensor of a map's size exists. An accelerator gets each map as one block, and so does a
CPU if the maps are channels-last.

Source: derived from the loss of arXiv:2111.11837; tests compare it with the loss as published.
"""

from typing import NamedTuple, Protocol, Self

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from fgd_core.methods.parts.blocks import blocks_of
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
    flat, exact = features.flatten(2), exact_type(features)
    num_images, num_channels, num_cells = flat.shape
    cells, scores = features.new_zeros(2, num_images, 1, num_cells, dtype=exact)
    channels, totals = features.new_empty(2, num_images, num_channels, 1, dtype=exact)
    weight = _as_column(pool.weight, exact).expand(num_images, -1, -1)
    columns, rows = (channels, totals, weight), (cells, scores)
    for (values,), (of_channels, its_totals, its_weight), (of_cells, its_scores) in blocks_of([flat], columns, rows):
        block = values.to(exact)
        magnitude = block.abs()
        of_cells.add_(magnitude.sum(1, keepdim=True))
        torch.sum(magnitude, 2, keepdim=True, out=of_channels)
        torch.sum(block, 2, keepdim=True, out=its_totals)
        its_scores.baddbmm_(its_weight.mT, block)
    means = (cells / num_channels)[:, 0], (channels / num_cells)[:, :, 0], (totals / num_cells)[:, :, 0]
    return Scan(*means, scores[:, 0].softmax(1))


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
    exact = channel_weights.dtype
    centre = ours.means - theirs.means
    weighed = torch.zeros_like(ours.cells)
    sums = centre.new_empty(4, *centre.shape)
    columns = *(each[:, :, None] for each in (centre, channel_weights)), *sums[..., None]
    rows = ours.pooling[:, None], theirs.pooling[:, None], weighed[:, None]
    for maps, own, (our_pooling, their_pooling, its_weighed) in blocks_of([student, teacher], columns, rows):
        its_centre, its_weights, excess, spread, our_context, their_context = own
        block, other = maps[0].to(exact), maps[1].to(exact)
        torch.bmm(block, our_pooling.mT, out=our_context)
        torch.bmm(other, their_pooling.mT, out=their_context)
        difference = block - other
        squared = difference.square()
        its_weighed.baddbmm_(its_weights.mT, squared)
        difference -= its_centre
        torch.sum(difference, 2, keepdim=True, out=excess)
        torch.sum(torch.mul(difference, difference, out=squared), 2, keepdim=True, out=spread)
    return Sums(ours.cells, ours.channels, weighed, centre, *sums)


def _gradients(saved: _Saved, slopes: Sums) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of the student's map (N, C, H, W) and of the two poolings' weights (1, C, 1, 1)."""
    flat = saved.student.flatten(2), saved.teacher.flatten(2)
    # Flat from the start: to flatten a map may copy it, and the copy would receive the gradient.
    gradient = torch.empty_like(flat[0])
    maps = [*flat, gradient]
    exact = saved.centre.dtype
    columns = _Columns.of(saved, slopes)
    for (student, teacher, into), own, rows in blocks_of(maps, columns, _Rows.of(saved, slopes)):
        column, row = _Columns(*own), _Rows(*rows)
        block, other = student.to(exact), teacher.to(exact)
        torch.bmm(block, row.our_scores.mT, out=column.our_result)
        torch.bmm(other, row.their_scores.mT, out=column.their_result)
        total = block - other
        factor = column.of_weighed * row.of_weighed
        total *= factor.add_(column.of_spread)
        total += column.constant
        total.addcmul_(block.sgn(), torch.add(column.of_sign, row.of_sign, out=factor))
        total.addcmul_(column.our_slope, row.our_pooling)
        torch.addcmul(total, column.our_weight, row.our_scores, out=into)
    ours, theirs = (each.sum(0)[None, :, :, None] for each in (columns.our_result, columns.their_result))
    return gradient.view(saved.student.shape), ours, theirs


def _score_slopes(features: Tensor, pooling: Tensor, context: Tensor, slope: Tensor) -> Tensor:
    """Return the gradients (N, K) of the scores whose softmax weighs the cells of a map (N, C, H, W) in its context.

    Args:
        pooling: (N, K) the weights.
        context: (N, C), and its gradient `slope`, (N, C).
    """
    along = torch.zeros_like(pooling)
    for (block,), (its_slope,), (its_along,) in blocks_of([features.flatten(2)], [slope[:, :, None]], [along[:, None]]):
        its_along.baddbmm_(its_slope.mT, block.to(slope.dtype))
    return pooling * (along - (slope * context).sum(1, keepdim=True))


class _Columns(NamedTuple):
    """Holds what the gradient needs of each channel, and two results, (N, C, 1) each."""

    our_result: Tensor
    """Receives the gradient of the weights of the student's pooling, and `their_result` of the teacher's."""
    their_result: Tensor
    our_slope: Tensor
    """The gradient of the student's context."""
    our_weight: Tensor
    """Of the student's pooling."""
    of_weighed: Tensor
    of_spread: Tensor
    constant: Tensor
    of_sign: Tensor

    @classmethod
    def of(cls, saved: _Saved, slopes: Sums) -> Self:
        """Collect it from tensors (N, C)."""
        results = slopes.spread.new_empty(2, *slopes.spread.shape)
        weight = saved.student_weight.flatten().to(results.dtype).expand_as(slopes.spread)
        factors = 2 * saved.channel_weights, 2 * slopes.spread
        constant = slopes.excess - 2 * slopes.spread * saved.centre
        of_sign = slopes.channels / saved.student.shape[2:].numel()
        own = (*results, slopes.student_context, weight, *factors, constant, of_sign)
        return cls(*(each[:, :, None] for each in own))


class _Rows(NamedTuple):
    """Holds what the gradient needs of each cell, (N, 1, K) each."""

    our_scores: Tensor
    """The gradient of the scores of the student's cells, and `their_scores` of the teacher's."""
    their_scores: Tensor
    our_pooling: Tensor
    of_weighed: Tensor
    of_sign: Tensor

    @classmethod
    def of(cls, saved: _Saved, slopes: Sums) -> Self:
        """Collect it from tensors (N, K); reads both maps."""
        ours = _score_slopes(saved.student, saved.student_pooling, saved.student_context, slopes.student_context)
        theirs = _score_slopes(saved.teacher, saved.teacher_pooling, saved.teacher_context, slopes.teacher_context)
        of_sign = slopes.cells / saved.student.shape[1]
        return cls(*(each[:, None] for each in (ours, theirs, saved.student_pooling, slopes.weighed, of_sign)))


def _as_column(weight: Tensor, exact: torch.dtype) -> Tensor:
    """Return the weight (1, C, 1, 1) of a pooling as a column (1, C, 1)."""
    return weight[..., 0].to(exact)
