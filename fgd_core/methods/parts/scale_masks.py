"""The scale masks of FGD: how much each cell of each level of a pyramid counts as foreground and as background."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor

from fgd_core.methods.parts.objects import stacked
from fgd_core.methods.parts.precision import exact_type

# Boxes compared with the grid in one step. They take N * 64 * H * W floats of memory; one box a step would be slow.
_BOXES_AT_ONCE = 64

Rounding: TypeAlias = Literal["geometric", "official"]
Size: TypeAlias = tuple[int, int]


class ScaleMasks(NamedTuple):
    """Holds the weights of the cells of one level."""

    foreground: Tensor
    """(N, H, W) in [0, 1]: 1 / area in cells of the smallest box over the cell, 0 on background"""
    background: Tensor
    """(N, H, W) equal on all cells that no box covers; the sum over an image is 1, or 0 if boxes cover all cells"""


@torch.no_grad()
def scale_masks(
    boxes: Sequence[Tensor],
    spans: Sequence[Size],
    maps: Sequence[Tensor],
    rounding: Rounding = "geometric",
) -> list[ScaleMasks]:
    """Weigh the cells of maps so that every object has the same total weight, whatever its size.

    A box covers the cells from floor(min) to ceil(max), both included. If boxes overlap, the smallest box counts.

    Args:
        boxes: for each image (n, 4) xyxy in pixels; n may be 0, boxes may extend beyond the image.
        spans: the (height, width) in pixels that each whole grid covers, for each image, or one for all images.
        maps: each (N, C, H, W); only the shapes, the type and the device are used.
        rounding: `official` divides before it multiplies, as in the authors' code; rounding then sometimes moves a
            border on the edge of a cell by one cell. `geometric` multiplies first and is exact there.
    Source: arXiv:2111.11837 §3.1.
    """
    features = maps[0]
    grids = tuple((each.shape[2], each.shape[3]) for each in maps)
    cells, rows, columns = _lines(grids, features.device)
    corners = stacked(boxes, features.device).boxes[:, :, None]  # (N, most, 1, 4)
    pixels = _pixels(tuple(spans), features.device)
    corners = corners / pixels * cells if rounding == "official" else corners * cells / pixels  # (N, most, levels, 4)
    low, high = corners[..., :2].floor(), corners[..., 2:].ceil()
    value = (1 / (high - low + 1).clamp(min=1).prod(-1)).to(exact_type(features))  # (N, most, levels)
    on_columns, on_rows = (
        _covered(lines, low[..., axis], high[..., axis]) for axis, lines in enumerate((columns, rows))
    )
    weighed = on_rows * value[:, :, rows.level]  # (N, most, all rows)
    heights, widths = zip(*grids, strict=True)
    foregrounds = map(_highest, torch.split(weighed, list(heights), 2), torch.split(on_columns, list(widths), 2))
    return [ScaleMasks(each, _background(each)) for each in foregrounds]


class _Lines(NamedTuple):
    """Numbers the rows, or the columns, of all levels one after another."""

    place: Tensor
    """(lines,) of the line on its level"""
    level: Tensor
    """(lines,) of its level"""


@lru_cache(maxsize=256)
def _lines(grids: tuple[Size, ...], device: torch.device) -> tuple[Tensor, _Lines, _Lines]:
    """Return the numbers of cells along x, y, x and y, (levels, 4), and the rows and the columns of grids.

    Kept: to make them means to copy lists to the device, for which the host would wait in each step.
    """
    cells = torch.tensor([(width, height, width, height) for height, width in grids], device=device)
    heights, widths = zip(*grids, strict=True)
    return cells, _numbered(heights, device), _numbered(widths, device)


def _numbered(counts: Sequence[int], device: torch.device) -> _Lines:
    index = torch.cat([torch.arange(count, device=device) for count in counts])
    level = torch.cat([torch.full((count,), level, device=device) for level, count in enumerate(counts)])
    return _Lines(index, level)


@lru_cache(maxsize=256)
def _pixels(spans: tuple[Size, ...], device: torch.device) -> Tensor:
    """Return the pixels along x, y, x and y for each image, or once: (N or 1, 1, 1, 4)."""
    sizes = [(width, height, width, height) for height, width in spans]
    return torch.tensor(sizes, device=device)[:, None, None]


def _covered(lines: _Lines, low: Tensor, high: Tensor) -> Tensor:
    """Return which lines boxes cover, (N, most, lines).

    Args:
        low: (N, most, levels) the first line on each level, and `high`, the last one.
    """
    return (lines.place >= low[:, :, lines.level]) & (lines.place <= high[:, :, lines.level])


def _highest(rows: Tensor, columns: Tensor) -> Tensor:
    """Multiply rows (N, most, H) and columns (N, most, W), and take the maximum of all boxes: (N, H, W)."""
    weights = rows.new_zeros(len(rows), rows.shape[2], columns.shape[2])
    for ours, theirs in zip(*(torch.split(each, _BOXES_AT_ONCE, 1) for each in (rows, columns)), strict=True):
        weights = torch.maximum(weights, (ours[..., None] * theirs[:, :, None]).amax(1))
    return weights


def _background(foreground: Tensor) -> Tensor:
    """Weigh the cells that no box covers equally: (N, H, W) to (N, H, W)."""
    background = (foreground == 0).to(foreground.dtype)
    return background / background.sum((1, 2), keepdim=True).clamp(min=1)
