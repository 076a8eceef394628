"""Cuts maps into blocks on which several operations run before the next block is read."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

_BLOCK_VALUES = 196608
"""Values of a block on a CPU: 768 KB in float32. Smaller blocks wait for the interpreter and, on two threads, for each
other; of larger ones the operands of an operation no longer fit into the 2 MB of cache of a core. It does not depend on
the number of threads, so neither does the order of the sums over blocks."""

Tensors: TypeAlias = Sequence[Tensor]


Block: TypeAlias = tuple[Tensors, Tensors, Tensors]
"""Parts of maps, of columns and of rows."""


def blocks_of(maps: Tensors, columns: Tensors, rows: Tensors = ()) -> Iterable[Block]:
    """Return blocks of maps (N, C, K), with their parts of columns (N, C, 1) and of rows (N, 1, K), as views.

    A block holds some channels of an image, or several whole images if they are small; both lie one after another in
    memory. The only block is the whole batch on other devices than a CPU, for maps in another layout, and in compiled
    code, whose compiler makes its own blocks.
    """
    is_whole = maps[0].device.type != "cpu" or torch.compiler.is_compiling()
    if is_whole or not all(each.is_contiguous() for each in maps):
        return [(maps, columns, rows)]
    return _in_cache(maps, columns, rows)


def _in_cache(maps: Tensors, columns: Tensors, rows: Tensors) -> Iterator[Block]:
    """Yield the blocks of `blocks_of`."""
    num_images, num_channels, num_cells = maps[0].shape
    # Small levels and regions would otherwise cost more in Python than in arithmetic.
    images = max(1, _BLOCK_VALUES // (num_channels * num_cells))
    channels = max(1, _BLOCK_VALUES // num_cells)
    for first in range(0, num_images, images):
        of_images = [each[first : first + images] for each in (*maps, *columns)]
        own = [each[first : first + images] for each in rows]
        for parts in zip(*(torch.split(each, channels, 1) for each in of_images), strict=True):
            yield parts[: len(maps)], parts[len(maps) :], own
