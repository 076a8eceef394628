"""Passes over feature maps, block by block: the operations behind `map_sums` that read or write a whole map.

On a CPU all operations on a block find it in the cache, and no further tensor of a map's size exists. An accelerator
gets each map as one block, and so does a CPU if the maps are channels-last. `map_kernels` does the same on a GPU with
one kernel for each pass. Here and there maps are (N, C, K) with K cells, and sums have at least float32.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from fgd_core.methods.parts.blocks import blocks_of
from fgd_core.methods.parts.precision import exact_type


class Scanned(NamedTuple):
    """Holds sums over a map."""

    cells: Tensor
    """(N, K) of the magnitudes of a cell's channels"""
    scores: Tensor
    """(N, K) of a cell's channels, weighed"""
    channels: Tensor
    """(N, C) of the magnitudes of a channel's cells"""
    totals: Tensor
    """(N, C) of a channel's cells"""


class Compared(NamedTuple):
    """Holds sums over two maps; d is student - teacher."""

    weighed: Tensor
    """(N, K) of d^2, weighed by channel"""
    excess: Tensor
    """(N, C) of d - centre"""
    spread: Tensor
    """(N, C) of (d - centre)^2"""
    student_context: Tensor
    """(N, C) of the student's cells, weighed by its pooling"""
    teacher_context: Tensor
    """(N, C)"""


class Columns(NamedTuple):
    """Holds what the gradient needs of each channel, (N, C) each."""

    our_slope: Tensor
    """The gradient of the student's context."""
    our_weight: Tensor
    """Of the student's pooling."""
    of_weighed: Tensor
    of_spread: Tensor
    constant: Tensor
    of_sign: Tensor
    their_slope: Tensor
    """The gradient of the teacher's context."""


class Rows(NamedTuple):
    """Holds what the gradient needs of each cell, (N, K) each."""

    our_pooling: Tensor
    their_pooling: Tensor
    of_weighed: Tensor
    of_sign: Tensor


class Gradients(NamedTuple):
    """Holds gradients."""

    student: Tensor
    """(N, C, K), in the student's type and layout"""
    our_weight: Tensor
    """(N, C), and `their_weight`: of the weights of the poolings"""
    their_weight: Tensor


class Passes(Protocol):
    """Implements the passes; the modules `map_passes` and `map_kernels` do."""

    def scan(self, features: Tensor, weight: Tensor) -> Scanned:
        """Sum over a map (N, C, K), with weights of the channels (C,) for the scores."""
        ...

    def compare(
        self, student: Tensor, teacher: Tensor, poolings: tuple[Tensor, Tensor], centre: Tensor, weights: Tensor
    ) -> Compared:
        """Sum over two maps (N, C, K).

        Args:
            poolings: (N, K) the weights of the student's and the teacher's cells in their contexts.
            centre: (N, C).
            weights: (N, C) of the channels.
        """
        ...

    def gradients(
        self, student: Tensor, teacher: Tensor, columns: Columns, rows: Rows, along: Sequence[Tensor]
    ) -> Gradients:
        """Compute the gradients from two maps (N, C, K).

        Args:
            along: (N, 1) the sums over the channels of each context times its gradient.
        """
        ...


def scan(features: Tensor, weight: Tensor) -> Scanned:
    """Sum over a map (N, C, K); see `Passes`."""
    exact = exact_type(features)
    num_images, num_channels, num_cells = features.shape
    cells, scores = features.new_zeros(2, num_images, 1, num_cells, dtype=exact)
    channels, totals = features.new_empty(2, num_images, num_channels, 1, dtype=exact)
    factors = (each[None, :, None].expand(num_images, -1, -1) for each in (torch.ones_like(weight), weight))
    columns, rows = (channels, totals, *factors), (cells, scores)
    for (values,), (of_channels, its_totals, ones, its_weight), (of_cells, its_scores) in blocks_of(
        [features], columns, rows
    ):
        block = values.to(exact)
        magnitude = block.abs()
        of_cells.baddbmm_(ones.mT, magnitude)
        torch.sum(magnitude, 2, keepdim=True, out=of_channels)
        torch.sum(block, 2, keepdim=True, out=its_totals)
        its_scores.baddbmm_(its_weight.mT, block)
    return Scanned(cells[:, 0], scores[:, 0], channels[..., 0], totals[..., 0])


def compare(
    student: Tensor, teacher: Tensor, poolings: tuple[Tensor, Tensor], centre: Tensor, weights: Tensor
) -> Compared:
    """Sum over two maps (N, C, K); see `Passes`."""
    exact = centre.dtype
    weighed = centre.new_zeros(len(student), 1, student.shape[2])
    sums = centre.new_empty(4, *centre.shape)
    columns = *(each[:, :, None] for each in (centre, weights)), *sums[..., None]
    rows = *(each[:, None] for each in poolings), weighed
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
        torch.linalg.vector_norm(difference, dim=2, keepdim=True, out=spread)
    sums[1].square_()
    return Compared(weighed[:, 0], *sums)


def project(features: Tensor, slope: Tensor) -> Tensor:
    """Sum over the channels of a map (N, C, K) with weights (N, C): (N, K)."""
    along = slope.new_zeros(len(features), 1, features.shape[2])
    for (block,), (its_slope,), (its_along,) in blocks_of([features], [slope[:, :, None]], [along]):
        its_along.baddbmm_(its_slope.mT, block.to(slope.dtype))
    return along[:, 0]


def gradients(student: Tensor, teacher: Tensor, columns: Columns, rows: Rows, along: Sequence[Tensor]) -> Gradients:
    """Compute the gradients from two maps (N, C, K); see `Passes`."""
    our_scores = rows.our_pooling * (project(student, columns.our_slope) - along[0])
    their_scores = rows.their_pooling * (project(teacher, columns.their_slope) - along[1])
    gradient, exact = torch.empty_like(student), columns.constant.dtype
    results = columns.constant.new_empty(2, *columns.constant.shape, 1)
    ones = torch.ones_like(rows.of_sign)
    # What is a product of a column and a row is added up as one product of matrices.
    factor_columns = torch.stack([columns.of_weighed, columns.of_spread], 2)
    factor_rows = torch.stack([rows.of_weighed, ones], 1)
    added_columns = torch.stack([columns.our_slope, columns.our_weight, columns.constant], 2)
    added_rows = torch.stack([rows.our_pooling, our_scores, ones], 1)
    of_channels = factor_columns, added_columns, columns.of_sign[..., None], *results
    of_cells = factor_rows, added_rows, *(each[:, None] for each in (rows.of_sign, our_scores, their_scores))
    for maps, own, its_rows in blocks_of([student, teacher, gradient], of_channels, of_cells):
        factors, added, of_sign, our_result, their_result = own
        row_factors, row_added, row_sign, its_scores, their_own_scores = its_rows
        block, other = maps[0].to(exact), maps[1].to(exact)
        torch.bmm(block, its_scores.mT, out=our_result)
        torch.bmm(other, their_own_scores.mT, out=their_result)
        factor = torch.bmm(factors, row_factors)
        total = torch.sub(block, other).mul_(factor)
        total.baddbmm_(added, row_added)
        torch.addcmul(total, block.sgn(), torch.add(of_sign, row_sign, out=factor), out=maps[2])
    return Gradients(gradient, *results[..., 0])
