"""Lowers the scores of masks that overlap better masks (matrix NMS, SOLOv2, arXiv:2003.10152 §3.3)."""

import torch
from torch import Tensor


def matrix_nms_factors(masks: Tensor, labels: Tensor, *, sigma: float) -> Tensor:
    """Compute a factor for the score of each mask, lower the more it overlaps a better mask of its class.

    A better mask counts less if a still better mask overlaps it, because it will be lowered itself. All masks are
    compared at once, so nothing is removed one after the other. The function of the overlap is the Gaussian one.

    Args:
        masks: (n, P) bool, the pixels of each mask, best score first.
        labels: (n,)
        sigma: how fast the factor falls with the overlap.
    Returns:
        (n,) in (0, 1].
    """
    if len(masks) == 0:
        return masks.new_ones(0, dtype=torch.float32)
    pixels = masks.float()
    shared = pixels @ pixels.T
    area = pixels.sum(1)
    overlap = shared / (area[:, None] + area - shared).clamp(min=1)
    # Row: the better mask. Column: the mask that it lowers.
    overlap = (overlap * (labels[:, None] == labels)).triu(diagonal=1)
    own = overlap.amax(0)  # (n,) the overlap of each mask with its better masks
    return torch.exp(-sigma * (overlap.square() - own.square()[:, None])).amin(0)
