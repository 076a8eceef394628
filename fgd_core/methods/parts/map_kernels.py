"""The passes of `map_passes` as one Triton kernel each, so that a GPU reads each map once in a pass.

PyTorch's operations, and the compiler's kernels, read a map once for the sums over its channels and once more for the
sums over its cells. A kernel loads a tile of some channels and cells once. A program has all channels of
some cells, so the sums of its cells are complete. The sums over cells are written for each program and added by
PyTorch, always in the same order: results do not depend on which program ends first. Maps may have any strides.

Import this module only where Triton runs: on a GPU, or in Triton's interpreter.
"""

from collections.abc import Sequence
from subprocess import SubprocessError
from typing import NamedTuple

import torch
import triton
from torch import Tensor
from triton.errors import TritonError

from fgd_core.methods.parts.map_passes import Columns, Compared, Gradients, Rows, Scanned
from fgd_core.methods.parts.precision import exact_type
from fgd_core.methods.parts.tile_kernels import compare_kernel, gradient_kernel, project_kernel, scan_kernel

FAILURES = (RuntimeError, OSError, SubprocessError, TritonError)
"""What Triton raises where it cannot build or run a kernel."""
TILE = {"BLOCK_C": 64, "BLOCK_K": 64}
"""Channels and cells that a program loads at once: 32 values of each map for each of its 128 threads."""


def scan(features: Tensor, weight: Tensor) -> Scanned:
    """Sum over a map (N, C, K); see `Passes`."""
    grid = _Grid.of(features)
    cells, scores = features.new_empty(2, len(features), grid.cells, dtype=exact_type(features))
    parts = grid.parts(2, cells.dtype)
    scan_kernel[grid.programs](
        features, weight.contiguous(), cells, scores, parts, *grid.sizes, *features.stride(), **TILE
    )
    return Scanned(cells, scores, *parts.sum(2))


def compare(
    student: Tensor, teacher: Tensor, poolings: tuple[Tensor, Tensor], centre: Tensor, weights: Tensor
) -> Compared:
    """Sum over two maps (N, C, K); see `Passes`."""
    grid = _Grid.of(student)
    columns, rows = torch.stack([centre, weights]), torch.stack(poolings)
    weighed, parts = torch.empty_like(rows[0]), grid.parts(4, centre.dtype)
    compare_kernel[grid.programs](
        *(student, teacher, columns, rows, weighed, parts), *grid.sizes, *student.stride(), *teacher.stride(), **TILE
    )
    return Compared(weighed, *parts.sum(2))


def project(features: Tensor, slope: Tensor) -> Tensor:
    """Sum over the channels of a map (N, C, K) with weights (N, C): (N, K)."""
    grid = _Grid.of(features)
    along = slope.new_empty(len(features), grid.cells)
    project_kernel[grid.programs](features, slope.contiguous(), along, *grid.sizes, *features.stride(), **TILE)
    return along


def gradients(student: Tensor, teacher: Tensor, columns: Columns, rows: Rows, along: Sequence[Tensor]) -> Gradients:
    """Compute the gradients from two maps (N, C, K); see `Passes`."""
    our_scores = rows.our_pooling * (project(student, columns.our_slope) - along[0])
    their_scores = rows.their_pooling * (project(teacher, columns.their_slope) - along[1])
    of_cells = torch.stack([our_scores, their_scores, rows.our_pooling, rows.of_weighed, rows.of_sign])
    of_channels = torch.stack(columns[:-1])  # The slope of the teacher's context is in the scores.
    grid, gradient = _Grid.of(student), torch.empty_like(student)
    parts = grid.parts(2, columns.constant.dtype)
    strides = *student.stride(), *teacher.stride(), *gradient.stride()
    gradient_kernel[grid.programs](
        *(student, teacher, gradient, of_channels, of_cells, parts), *grid.sizes, *strides, **TILE
    )
    return Gradients(gradient, *parts.sum(2))


class _Grid(NamedTuple):
    """Describes the programs over a map."""

    images: int
    channels: int
    cells: int
    device: torch.device

    @classmethod
    def of(cls, features: Tensor) -> "_Grid":
        """Describe the programs over a map (N, C, K)."""
        images, channels, cells = features.shape
        return cls(images, channels, cells, features.device)

    @property
    def programs(self) -> tuple[int, int]:
        """Blocks of cells, and images."""
        return triton.cdiv(self.cells, TILE["BLOCK_K"]), self.images

    @property
    def sizes(self) -> tuple[int, int, int]:
        """What every kernel gets."""
        return self.images, self.channels, self.cells

    def parts(self, count: int, kind: torch.dtype) -> Tensor:
        """Make room for sums over cells: (count, N, blocks of cells, C)."""
        return torch.empty(count, self.images, self.programs[0], self.channels, dtype=kind, device=self.device)
