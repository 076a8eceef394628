"""The losses of Generalised Focal Loss (arXiv:2006.04388) for scores and for distance distributions."""

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

_BETA = 2.0


def quality_focal_loss(logits: Tensor, quality: Tensor) -> Tensor:
    """Compute |y - sigmoid(x)|^2 times the binary cross entropy of x against y in [0, 1] (eq. 5).

    Args:
        logits: (…, K), the x.
        quality: (…, K), the y: the IoU of the predicted box and its object in the column of the object's class, else 0.
    Returns:
        (…, K).
    """
    focus = (quality - logits.sigmoid()).abs() ** _BETA
    return focus * binary_cross_entropy_with_logits(logits, quality, reduction="none")


def distribution_focal_loss(logits: Tensor, distances: Tensor) -> Tensor:
    """Compute the cross entropy against the two bins around the true distance, weighed by nearness (eq. 6).

    Args:
        logits: (n, bins).
        distances: (n,) in bins, 0 <= distance < bins - 1.
    Returns:
        (n,). Smallest if the two bins have all probability, in proportion to their nearness; this minimum is zero if
        the distance is a whole number.
    """
    lower = distances.long()
    weight_of_upper = distances - lower
    of_lower = cross_entropy(logits, lower, reduction="none") * (1 - weight_of_upper)
    return of_lower + cross_entropy(logits, lower + 1, reduction="none") * weight_of_upper


def expected_distance(logits: Tensor) -> Tensor:
    """Compute the mean of each distribution: (..., bins) logits to (...) in bins."""
    bins = torch.arange(logits.shape[-1], dtype=logits.dtype, device=logits.device)
    return logits.softmax(-1) @ bins
