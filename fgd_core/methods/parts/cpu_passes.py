"""Passes over maps on a CPU as one function in C each, `cpu_passes.c`, so that memory is read once in a pass.

Maps (N, C, K) and all results have one type, float32 or float64. Sums do not depend on the number of threads.
"""

from collections.abc import Sequence
from ctypes import c_int, c_long, c_void_p

import torch
from torch import Tensor

from fgd_core.methods.parts.c_library import REAL, TILE, library
from fgd_core.methods.parts.map_passes import Columns, Compared, Gradients, Rows, Scanned

_SHARED_VALUES = 65536
"""A smaller map is done before a second thread has begun."""


def fit(*maps: Tensor) -> bool:
    """Return True if the functions in C can do passes over these maps (N, C, K)."""
    first = maps[0]
    if torch.compiler.is_compiling() or first.device.type != "cpu" or first.dtype not in REAL:
        return False
    alike = all(each.is_contiguous() and (each.dtype, each.shape) == (first.dtype, first.shape) for each in maps)
    return alike and library(first.dtype) is not None


def scan(features: Tensor, weight: Tensor) -> Scanned:
    """Sum over a map (N, C, K); see `Passes`."""
    cells, scores = features.new_empty(2, len(features), features.shape[2])
    parts = _parts(features, 2)
    _run("scan", features, weight.contiguous(), cells, scores, parts)
    return Scanned(cells, scores, *parts.sum(2))


def compare(
    student: Tensor, teacher: Tensor, poolings: tuple[Tensor, Tensor], centre: Tensor, weights: Tensor
) -> Compared:
    """Sum over two maps (N, C, K); see `Passes`."""
    weighed, parts = torch.empty_like(poolings[0]), _parts(student, 4)
    _run("compare", student, teacher, torch.stack([centre, weights]), *poolings, weighed, parts)
    return Compared(weighed, *parts.sum(2))


def gradients(student: Tensor, teacher: Tensor, columns: Columns, rows: Rows, along: Sequence[Tensor]) -> Gradients:
    """Compute the gradients from two maps (N, C, K); see `Passes`."""
    gradient, parts = torch.empty_like(student), _parts(student, 2)
    _run("gradients", student, teacher, torch.stack([*along]), torch.stack(columns), *rows, gradient, parts)
    return Gradients(gradient, *parts.sum(2))


def moments(ours: Tensor, theirs: Tensor) -> Tensor:
    """Compute the sums of `channel_passes.Moments` over two maps (N, C, K): (5, N, C)."""
    sums = ours.new_empty(5, *ours.shape[:2])
    _run("moments", ours, theirs, sums)
    return sums


def combine(maps: Sequence[Tensor], centres: Sequence[Tensor], weights: Sequence[Tensor], constant: Tensor) -> Tensor:
    """Combine one or two maps (N, C, K) with numbers of the channels (C,); see `channel_passes.combined`."""
    zero = torch.zeros_like(constant)
    columns = [*zip(centres, weights, strict=True), (zero, zero)]
    numbers = torch.stack([*columns[0], *columns[1], constant])[:, None].expand(-1, len(maps[0]), -1)
    result = torch.empty_like(maps[0])
    _run("combine", maps[0], maps[-1], numbers.contiguous(), result)
    return result


def signs(features: Tensor, columns: Tensor, rows: Tensor) -> Tensor:
    """Multiply the signs of a map (N, C, K) by the sum of numbers of channels (N, C) and of cells (N, K)."""
    result = torch.empty_like(features)
    _run("signs", features, columns.contiguous(), rows.contiguous(), result)
    return result


def _parts(features: Tensor, count: int) -> Tensor:
    """Make room for sums over the cells of each tile: (count, N, tiles, C)."""
    images, channels, cells = features.shape
    return features.new_empty(count, images, -(-cells // TILE), channels)


def _run(name: str, *tensors: Tensor) -> None:
    """Call a function in C with tensors; the first is a map (N, C, K)."""
    first = tensors[0]
    assert all(each.is_contiguous() and each.dtype == first.dtype for each in tensors), name
    threads = torch.get_num_threads() if first.numel() >= _SHARED_VALUES else 1
    sizes = (c_long(size) for size in first.shape)
    getattr(library(first.dtype), name)(c_int(threads), *sizes, *(c_void_p(each.data_ptr()) for each in tensors))
