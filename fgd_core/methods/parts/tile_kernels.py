"""Triton's kernels behind `map_kernels`; a program has all channels of some cells of an image.

Maps are (N, C, K) with any strides. Results and all other tensors are contiguous, and their type is that of the sums.
"""

import triton
import triton.language as tl


@triton.jit  # type: ignore[untyped-decorator]
def _loaded(
    base: tl.tensor,
    image: tl.tensor,
    c: tl.tensor,
    k: tl.tensor,
    mask: tl.tensor,
    per_image: tl.tensor,
    per_channel: tl.tensor,
    per_cell: tl.tensor,
) -> tl.tensor:
    """Load a tile of channels c and cells k of an image, 0 outside."""
    offsets = image.to(tl.int64) * per_image + c[:, None] * per_channel + k[None, :] * per_cell
    return tl.load(base + offsets, mask=mask, other=0)


@triton.jit  # type: ignore[untyped-decorator]
def _put(
    parts: tl.tensor,
    number: tl.tensor,
    image: tl.tensor,
    images: tl.tensor,
    channels: tl.tensor,
    c: tl.tensor,
    values: tl.tensor,
) -> None:
    """Store the number-th sums over the cells of this program, for channels c."""
    place = ((number * images + image) * tl.num_programs(0) + tl.program_id(0)) * channels + c
    tl.store(parts + place, values, mask=c < channels)


@triton.jit  # type: ignore[untyped-decorator]
def scan_kernel(
    features: tl.tensor,
    weight: tl.tensor,
    cells: tl.tensor,
    scores: tl.tensor,
    parts: tl.tensor,
    images: tl.tensor,
    channels: tl.tensor,
    num_cells: tl.tensor,
    per_image: tl.tensor,
    per_channel: tl.tensor,
    per_cell: tl.tensor,
    BLOCK_C: tl.constexpr,
    BLOCK_K: tl.constexpr,
) -> None:
    exact = cells.dtype.element_ty
    image = tl.program_id(1)
    k = tl.program_id(0) * BLOCK_K + tl.arange(0, BLOCK_K)
    of_cells = tl.zeros([BLOCK_K], exact)
    its_scores = tl.zeros([BLOCK_K], exact)
    for start in range(0, channels, BLOCK_C):
        c = start + tl.arange(0, BLOCK_C)
        mask = (c < channels)[:, None] & (k < num_cells)[None, :]
        block = _loaded(features, image, c, k, mask, per_image, per_channel, per_cell).to(exact)
        magnitude = tl.abs(block)
        of_cells += tl.sum(magnitude, 0)
        its_scores += tl.sum(block * tl.load(weight + c, mask=c < channels, other=0)[:, None], 0)
        _put(parts, 0, image, images, channels, c, tl.sum(magnitude, 1))
        _put(parts, 1, image, images, channels, c, tl.sum(block, 1))
    tl.store(cells + image * num_cells + k, of_cells, mask=k < num_cells)
    tl.store(scores + image * num_cells + k, its_scores, mask=k < num_cells)


@triton.jit  # type: ignore[untyped-decorator]
def compare_kernel(
    student: tl.tensor,
    teacher: tl.tensor,
    columns: tl.tensor,
    rows: tl.tensor,
    weighed: tl.tensor,
    parts: tl.tensor,
    images: tl.tensor,
    channels: tl.tensor,
    num_cells: tl.tensor,
    s_image: tl.tensor,
    s_channel: tl.tensor,
    s_cell: tl.tensor,
    t_image: tl.tensor,
    t_channel: tl.tensor,
    t_cell: tl.tensor,
    BLOCK_C: tl.constexpr,
    BLOCK_K: tl.constexpr,
) -> None:
    exact = weighed.dtype.element_ty
    image = tl.program_id(1)
    k = tl.program_id(0) * BLOCK_K + tl.arange(0, BLOCK_K)
    in_k = k < num_cells
    our_pooling = tl.load(rows + image * num_cells + k, mask=in_k, other=0)
    their_pooling = tl.load(rows + (images + image) * num_cells + k, mask=in_k, other=0)
    total = tl.zeros([BLOCK_K], exact)
    for start in range(0, channels, BLOCK_C):
        c = start + tl.arange(0, BLOCK_C)
        in_c = c < channels
        mask = in_c[:, None] & in_k[None, :]
        centre = tl.load(columns + image * channels + c, mask=in_c, other=0)
        weight = tl.load(columns + (images + image) * channels + c, mask=in_c, other=0)
        block = _loaded(student, image, c, k, mask, s_image, s_channel, s_cell).to(exact)
        other = _loaded(teacher, image, c, k, mask, t_image, t_channel, t_cell).to(exact)
        difference = block - other
        total += tl.sum(difference * difference * weight[:, None], 0)
        apart = tl.where(mask, difference - centre[:, None], 0)
        _put(parts, 0, image, images, channels, c, tl.sum(apart, 1))
        _put(parts, 1, image, images, channels, c, tl.sum(apart * apart, 1))
        _put(parts, 2, image, images, channels, c, tl.sum(block * our_pooling[None, :], 1))
        _put(parts, 3, image, images, channels, c, tl.sum(other * their_pooling[None, :], 1))
    tl.store(weighed + image * num_cells + k, total, mask=in_k)


@triton.jit  # type: ignore[untyped-decorator]
def project_kernel(
    features: tl.tensor,
    slope: tl.tensor,
    along: tl.tensor,
    images: tl.tensor,
    channels: tl.tensor,
    num_cells: tl.tensor,
    per_image: tl.tensor,
    per_channel: tl.tensor,
    per_cell: tl.tensor,
    BLOCK_C: tl.constexpr,
    BLOCK_K: tl.constexpr,
) -> None:
    exact = along.dtype.element_ty
    image = tl.program_id(1)
    k = tl.program_id(0) * BLOCK_K + tl.arange(0, BLOCK_K)
    total = tl.zeros([BLOCK_K], exact)
    for start in range(0, channels, BLOCK_C):
        c = start + tl.arange(0, BLOCK_C)
        mask = (c < channels)[:, None] & (k < num_cells)[None, :]
        block = _loaded(features, image, c, k, mask, per_image, per_channel, per_cell).to(exact)
        total += tl.sum(block * tl.load(slope + image * channels + c, mask=c < channels, other=0)[:, None], 0)
    tl.store(along + image * num_cells + k, total, mask=k < num_cells)


@triton.jit  # type: ignore[untyped-decorator]
def gradient_kernel(
    student: tl.tensor,
    teacher: tl.tensor,
    gradient: tl.tensor,
    columns: tl.tensor,
    rows: tl.tensor,
    parts: tl.tensor,
    images: tl.tensor,
    channels: tl.tensor,
    num_cells: tl.tensor,
    s_image: tl.tensor,
    s_channel: tl.tensor,
    s_cell: tl.tensor,
    t_image: tl.tensor,
    t_channel: tl.tensor,
    t_cell: tl.tensor,
    g_image: tl.tensor,
    g_channel: tl.tensor,
    g_cell: tl.tensor,
    BLOCK_C: tl.constexpr,
    BLOCK_K: tl.constexpr,
) -> None:
    exact = parts.dtype.element_ty
    image = tl.program_id(1)
    k = tl.program_id(0) * BLOCK_K + tl.arange(0, BLOCK_K)
    in_k = k < num_cells
    row = rows + image * num_cells + k
    # What `gradients` collects of each cell, and below the fields of `Columns`, lie one after another.
    next_row = images * num_cells
    next_column = images * channels
    our_scores = tl.load(row, mask=in_k, other=0)
    their_scores = tl.load(row + next_row, mask=in_k, other=0)
    our_pooling = tl.load(row + 2 * next_row, mask=in_k, other=0)
    row_weighed = tl.load(row + 3 * next_row, mask=in_k, other=0)
    row_sign = tl.load(row + 4 * next_row, mask=in_k, other=0)
    for start in range(0, channels, BLOCK_C):
        c = start + tl.arange(0, BLOCK_C)
        in_c = c < channels
        column = columns + image * channels + c
        mask = in_c[:, None] & in_k[None, :]
        our_slope = tl.load(column, mask=in_c, other=0)
        our_weight = tl.load(column + next_column, mask=in_c, other=0)
        of_weighed = tl.load(column + 2 * next_column, mask=in_c, other=0)
        of_spread = tl.load(column + 3 * next_column, mask=in_c, other=0)
        constant = tl.load(column + 4 * next_column, mask=in_c, other=0)
        of_sign = tl.load(column + 5 * next_column, mask=in_c, other=0)
        block = _loaded(student, image, c, k, mask, s_image, s_channel, s_cell).to(exact)
        other = _loaded(teacher, image, c, k, mask, t_image, t_channel, t_cell).to(exact)
        _put(parts, 0, image, images, channels, c, tl.sum(block * our_scores[None, :], 1))
        _put(parts, 1, image, images, channels, c, tl.sum(other * their_scores[None, :], 1))
        factor = of_weighed[:, None] * row_weighed[None, :] + of_spread[:, None]
        sign = (block > 0).to(exact) - (block < 0).to(exact)
        total = (block - other) * factor + constant[:, None]
        total += sign * (of_sign[:, None] + row_sign[None, :])
        total += our_slope[:, None] * our_pooling[None, :] + our_weight[:, None] * our_scores[None, :]
        into = image.to(tl.int64) * g_image + c[:, None] * g_channel + k[None, :] * g_cell
        tl.store(gradient + into, total, mask=mask)
