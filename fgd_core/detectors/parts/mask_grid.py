"""Assigns objects to the cells of a grid over the image, and compares their masks (SOLO, arXiv:1912.04488 §3)."""

import torch
from torch import Tensor
from torch.nn import functional

from fgd_core.outputs import BACKGROUND

_CENTRE_SHARE = 0.2
"""Share of an object's width and height within which a cell is close enough to its centre."""
_DICE_EPSILON = 1e-3
"""Added to both sums of the denominator, as in mmdetection."""


def centres_of_mass(masks: Tensor) -> Tensor:
    """Compute the mean position of the pixels of each mask.

    Args:
        masks: (n, height, width) uint8, 1 on the object.
    Returns:
        (n, 2) xy in pixels; the position of a pixel is its index, as in mmdetection. NaN if a mask is empty.
    """
    columns, rows = masks.sum(1, dtype=torch.float32), masks.sum(2, dtype=torch.float32)
    means = [(sums @ torch.arange(sums.shape[1]).to(sums)) / sums.sum(1) for sums in (columns, rows)]
    return torch.stack(means, dim=1)


def cell_matches(boxes: Tensor, centres: Tensor, grid: int, padded_size: tuple[int, int]) -> Tensor:
    """Assign to each cell the object whose centre region it touches, at most one cell around the centre's own.

    The region is a fifth as wide and high as the object's box. Of several objects, the last one gets the cell.

    Args:
        boxes: (n, 4) xyxy in pixels; n may be 0.
        centres: (n, 2) xy in pixels, of `centres_of_mass`. An object without one gets no cell.
        grid: cells in each direction.
        padded_size: (height, width) in pixels that the grid covers.
    Returns:
        (grid^2,) the index of the object or BACKGROUND, row by row.
    """
    if len(boxes) == 0:
        return torch.full((grid * grid,), BACKGROUND, device=boxes.device)
    per_px = grid / boxes.new_tensor([padded_size[1], padded_size[0]])
    reach = (boxes[:, 2:] - boxes[:, :2]) * _CENTRE_SHARE / 2
    own = (centres * per_px).floor()
    first = torch.maximum(((centres - reach) * per_px).floor(), own - 1)  # (n, 2)
    last = torch.minimum(((centres + reach) * per_px).floor(), own + 1)
    cells = torch.arange(grid, device=boxes.device)
    # (n, 2, grid): NaN compares as false.
    is_inside = (cells >= first[..., None]) & (cells <= last[..., None])
    number = torch.arange(1, len(boxes) + 1, device=boxes.device)[:, None, None]
    claims = (is_inside[:, 1, :, None] & is_inside[:, 0, None, :]) * number  # (n, grid, grid)
    return claims.amax(0).flatten() - 1


def shrunk_masks(masks: Tensor, cell_px: int, size: tuple[int, int]) -> Tensor:
    """Shrink masks bilinearly to the cells of a map; a cell of at least 0.5 belongs to the object.

    Without antialiasing, as in mmdetection: a cell is the mean of the 2 x 2 pixels around its centre.

    Args:
        masks: (n, height, width) uint8, of an image without its padding.
        cell_px: pixels per cell, an even number.
        size: (height, width) of the map, in cells.
    Returns:
        (n, *size) bool.
    """
    (height, width), (rows, columns) = masks.shape[1:], size
    padded = functional.pad(masks, (0, columns * cell_px - width, 0, rows * cell_px - height))
    middle = (cell_px // 2 - 1, cell_px // 2)
    around = [padded[:, y::cell_px, x::cell_px] for y in middle for x in middle]
    return torch.stack(around).sum(0) >= 2


def dice_losses(logits: Tensor, target: Tensor) -> Tensor:
    """Compute one minus the dice coefficient of each mask; squares in the denominator, as in V-Net (arXiv:1606.04797).

    Args:
        logits: (n, height, width) float32.
        target: (n, height, width) bool.
    Returns:
        (n,) in [0, 1].
    """
    predicted, target = logits.sigmoid().flatten(1), target.flatten(1).float()
    shared = (predicted * target).sum(1)
    return 1 - 2 * shared / (predicted.square().sum(1) + target.sum(1) + 2 * _DICE_EPSILON)
