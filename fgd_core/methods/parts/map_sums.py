"""FGD's terms of two feature maps from sums over the maps, in few passes.

With d = student - teacher, every term of FGD is a function of sums of |student|, |teacher|, d and d^2 over cells or
over channels, and of the two pooled contexts. The first pass reads both maps for their attention, the second one for
the other sums, and the gradient reads both and writes the student's. `passes_for` chooses who does the passes. What
follows from the sums is many operations on small tensors. On a CPU they took a fifth of the time, so one autograd
function has all gradients by hand, which are fewer operations than PyTorch's nodes.

Source: derived from the loss of arXiv:2111.11837; tests compare it with the loss as published.
"""

from collections.abc import Iterable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fgd_core.methods.parts import context
from fgd_core.methods.parts.attention import gap, temperature_of_means
from fgd_core.methods.parts.context import Added, Block
from fgd_core.methods.parts.map_passes import Columns, Rows
from fgd_core.methods.parts.passes_for import passes_for
from fgd_core.methods.parts.precision import exact_type
from fgd_core.methods.parts.scale_masks import ScaleMasks


class MapTerms(NamedTuple):
    """Holds the unweighted terms, each ()."""

    foreground: Tensor
    background: Tensor
    attention: Tensor
    relation: Tensor


class Focus(NamedTuple):
    """Holds the settings of the terms; see `FGDLoss`."""

    masks: ScaleMasks
    temperature: float | None
    """None: `temperature_of` the teacher"""
    cell_factor: float


def map_terms(
    student: Tensor, teacher: Tensor, focus: Focus, blocks: tuple[Iterable[Tensor], Iterable[Tensor]]
) -> MapTerms:
    """Compute the terms of two maps (N, C, H, W), with gradients to the student and the blocks.

    Args:
        blocks: the fields of `Block` of the student's and of the teacher's.
    """
    found: tuple[Tensor, ...] = _Terms.apply(student, teacher, focus, *blocks[0], *blocks[1])
    return MapTerms(*found)


class _Context(Protocol):
    """Describes what PyTorch gives an autograd function."""

    saved_tensors: tuple[Tensor, ...]
    relation_weight: float

    def save_for_backward(self, *tensors: Tensor) -> None: ...


class _Small(NamedTuple):
    """Holds what the gradient needs besides maps and blocks: gradients by a term at the slope 1, and weights."""

    student_pooling: Tensor
    """(N, K)"""
    teacher_pooling: Tensor
    foreground: Tensor
    """(N, K) of the weighed squares, and `background` likewise"""
    background: Tensor
    channels: Tensor
    """(N, C) the weights of the squares"""
    of_cells: Tensor
    """(N, K) of `attention`, by the sum of magnitudes of a cell; `of_channels`, (N, C), likewise"""
    of_channels: Tensor
    shift: Tensor
    """(N, C) what the contexts add to d"""
    of_shift: Tensor
    """(N, C) of the relation"""


class _Terms(torch.autograd.Function):
    """Computes the terms in two passes, and the gradients in another."""

    @staticmethod
    def forward(ctx: _Context, student: Tensor, teacher: Tensor, focus: Focus, *parameters: Tensor) -> MapTerms:
        """Compute the terms of maps (N, C, H, W)."""
        maps = student.flatten(2), teacher.flatten(2)
        blocks = Block(*parameters[:8]), Block(*parameters[8:])
        num_images, num_channels, num_cells = maps[0].shape
        passes, exact = passes_for(*maps), exact_type(student)
        ours, theirs = (passes.scan(each, own.pool.flatten().to(exact)) for each, own in zip(maps, blocks, strict=True))
        temperature: float | Tensor | None = focus.temperature
        if temperature is None:
            temperature = temperature_of_means(theirs.channels / num_cells)[:, None]
        weights = focus.cell_factor * num_cells / num_images, num_channels / num_images
        cells = gap(ours.cells, theirs.cells, temperature * num_channels, weights[0])
        channels = gap(ours.channels, theirs.channels, temperature * num_cells, weights[1])

        attended = cells.theirs * (num_channels * num_cells / num_images)
        on_objects, elsewhere = (attended * mask.flatten(1) for mask in focus.masks)
        poolings = ours.scores.softmax(1), theirs.scores.softmax(1)
        centre = (ours.totals - theirs.totals) / num_cells
        found = passes.compare(*maps, poolings, centre, channels.theirs)
        foreground, background = ((found.weighed * each).sum() for each in (on_objects, elsewhere))

        contexts = found.student_context, found.teacher_context
        added = [context.added(block, each) for block, each in zip(blocks, contexts, strict=True)]
        shift = added[0].result - added[1].result
        # The sum of (d + shift)^2 is expanded about the centre of d. Expanded about 0 it would lose all digits of
        # float32 if the shift cancels the mean of a channel, as in 100,000 minus 100,000.
        rest = centre + shift
        linear = torch.add(2 * found.excess, rest, alpha=num_cells)
        ctx.relation_weight = focus.cell_factor / num_images
        relation = (found.spread + rest * linear).sum() * ctx.relation_weight
        of_shift = torch.add(linear, rest, alpha=num_cells)

        small = _Small(*poolings, on_objects, elsewhere, channels.theirs, cells.slope, channels.slope, shift, of_shift)
        ctx.save_for_backward(student, teacher, *parameters, *added[0], *added[1], *small)
        return MapTerms(foreground, background, cells.distance + channels.distance, relation)

    @staticmethod
    @once_differentiable
    def backward(ctx: _Context, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of the inputs of `forward`.

        Args:
            slopes: the gradients of the terms.
        """
        student, teacher, *rest = ctx.saved_tensors
        blocks, added = (Block(*rest[:8]), Block(*rest[8:16])), (Added(*rest[16:22]), Added(*rest[22:28]))
        small, slope = _Small(*rest[28:]), MapTerms(*slopes)
        with torch.autocast(student.device.type, enabled=False):
            relation = slope.relation * ctx.relation_weight
            of_shift = small.of_shift * relation
            (ours, our_block), (theirs, their_block) = (
                context.gradients(block, each, its_slope)
                for block, each, its_slope in zip(blocks, added, (of_shift, -of_shift), strict=True)
            )
            along = [(by * each.context).sum(1, keepdim=True) for by, each in zip((ours, theirs), added, strict=True)]
            twice = 2 * relation
            columns = Columns(
                our_slope=ours,
                our_weight=blocks[0].pool.flatten().to(ours.dtype).expand_as(ours),
                of_weighed=2 * small.channels,
                of_spread=twice.expand_as(ours),
                constant=small.shift * twice,
                of_sign=small.of_channels * slope.attention,
                their_slope=theirs,
            )
            of_weighed = torch.addcmul(small.foreground * slope.foreground, small.background, slope.background)
            rows = Rows(small.student_pooling, small.teacher_pooling, of_weighed, small.of_cells * slope.attention)
            # Flat from the start: to flatten a map may copy it, and the copy would receive the gradient.
            maps = student.flatten(2), teacher.flatten(2)
            found = passes_for(*maps).gradients(*maps, columns, rows, along)
            pools = [each.sum(0).view_as(blocks[0].pool) for each in (found.our_weight, found.their_weight)]
        # A softmax does not depend on the bias of its input.
        no_bias = ours.new_zeros(1)
        gradient = found.student.view(student.shape)
        return gradient, None, None, pools[0], no_bias, *our_block, pools[1], no_bias, *their_block
