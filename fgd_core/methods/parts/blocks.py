"""Cuts maps into blocks on which several operations run before the next block is read."""

from collections.abc import Iterator, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

_BLOCK_VALUES = 262144
"""Values of a block on a CPU: 1 MB in float32. Larger blocks leave the cache, smaller ones wait for the interpreter. It
does not depend on the number of threads, so neither does the order of the sums over blocks."""

Tensors: TypeAlias = Sequence[Tensor]


def blocks_of(maps: Tensors, columns: Tensors, rows: Tensors = ()) -> Iterator[tuple[Tensors, Tensors, Tensors]]:
    """Yield blocks of maps (N, C, K), with their parts of columns (N, C, 1) and of rows (N, 1, K), as views.

    A block holds some channels of an image, which lie one after another in memory. On other devices than a CPU, and of
    maps in another layout, the only block is the whole batch.
    """
    num_images, _, num_cells = maps[0].shape
    if maps[0].device.type != "cpu" or not all(each.is_contiguous() for each in maps):
        yield maps, columns, rows
        return
    step = max(1, _BLOCK_VALUES // num_cells)
    for image in range(num_images):
        own = [each[image : image + 1] for each in rows]
        for parts in zip(*(torch.split(each[image : image + 1], step, 1) for each in (*maps, *columns)), strict=True):
            yield parts[: len(maps)], parts[len(maps) :], own
