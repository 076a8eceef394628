"""The losses of Generalised Focal Loss (arXiv:2006.04388), for scores and for distances told as distributions."""

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

_BETA = 2.0


def quality_focal_loss(logits: Tensor, quality: Tensor) -> Tensor:
    """|y - sigmoid(x)|^2 times the binary cross entropy of x against y, with a y between 0 and 1 (eq. 5).

    Args:
        logits, quality: of the same shape; `quality` is the overlap of the predicted box with its object in the column
            of the object's class, and 0 elsewhere.
    Returns:
        Of that shape.
    """
    focus = (quality - logits.sigmoid()).abs() ** _BETA
    return focus * binary_cross_entropy_with_logits(logits, quality, reduction="none")


def distribution_focal_loss(logits: Tensor, distances: Tensor) -> Tensor:
    """The cross entropy against the two bins around the true distance, each by how near it is (eq. 6).

    Args:
        logits: (n, bins).
        distances: (n,) in bins, 0 <= distance < bins - 1.
    Returns:
        (n,); smallest where the two bins around a distance share all probability as nearness does, and zero there
        where the distance is a whole number.
    """
    lower = distances.long()
    weight_of_upper = distances - lower
    of_lower = cross_entropy(logits, lower, reduction="none") * (1 - weight_of_upper)
    return of_lower + cross_entropy(logits, lower + 1, reduction="none") * weight_of_upper


def expected_distance(logits: Tensor) -> Tensor:
    """(..., bins) to the (...) mean of the distribution, in bins."""
    bins = torch.arange(logits.shape[-1], dtype=logits.dtype, device=logits.device)
    return logits.softmax(-1) @ bins
