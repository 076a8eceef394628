"""Compares the outputs of two dense detectors location by location.

Source of the three losses: the authors' code of CrossKD, arXiv:2306.11369.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from fgd_core.boxes import giou_loss, paired_iou
from fgd_core.methods.base import Terms
from fgd_core.methods.parts.divergence import soft_focal_loss, tempered_divergence
from fgd_core.methods.parts.precision import in_float32
from fgd_core.outputs import IGNORED, DenseOutputs, DistributionOutputs
from fgd_core.ranks import divisor

BoxMeasure: TypeAlias = Literal["giou", "iou"]
_LEAST_IOU = 1e-6


def imitation(
    student: DenseOutputs,
    teacher: DenseOutputs,
    matches: Tensor,
    weights: Mapping[str, float],
    measure: BoxMeasure = "giou",
) -> Terms:
    """Compare the outputs of two heads at all locations that the assignment does not ignore.

    Args:
        matches: (N, A) the student's object of each location, BACKGROUND or IGNORED.
        weights: of `classes` and `boxes`, and of `sides` if distributions are to be compared as well.
        measure: how boxes are compared.
    """
    with in_float32(joined(student.logits), joined(teacher.logits).detach()) as (logits, wanted):
        scores = best_scores(wanted)
        parts = {
            "classes": class_imitation(logits, wanted, matches),
            "boxes": box_imitation(student.boxes(), teacher.boxes(), scores, matches, measure),
        }
        if isinstance(student, DistributionOutputs) and isinstance(teacher, DistributionOutputs) and "sides" in weights:
            ours, theirs = (joined(each.distributions).float() for each in (student, teacher))
            parts["sides"] = side_imitation(ours, theirs, scores, matches)
    return Terms(parts, weights)


def class_imitation(student: Tensor, teacher: Tensor, matches: Tensor) -> Tensor:
    """Compare class scores at all locations.

    Args:
        student: (N, A, K) logits.
        teacher: (N, A, K) logits; no gradient flows into them.
        matches: (N, A) the object of each location, BACKGROUND or IGNORED.
    Returns:
        Scalar (), divided by the number of locations with an object.
    """
    losses = soft_focal_loss(student, teacher).sum(-1)  # (N, A)
    return losses.masked_fill(matches == IGNORED, 0).sum() / divisor(count_positives(matches))


def box_imitation(
    student: Tensor, teacher: Tensor, weights: Tensor, matches: Tensor, measure: BoxMeasure = "giou"
) -> Tensor:
    """Compare boxes at all locations.

    Args:
        student: (N, A, 4) xyxy in pixels.
        teacher: (N, A, 4); no gradient flows into it.
        weights: (N, A)
        matches: (N, A) as of `class_imitation`.
    Returns:
        Scalar (), divided by the number of locations with an object.
    """
    losses = box_losses(student, teacher, measure) * weights
    return losses.masked_fill(matches == IGNORED, 0).sum() / divisor(count_positives(matches))


def side_imitation(student: Tensor, teacher: Tensor, weights: Tensor, matches: Tensor) -> Tensor:
    """Compare the distributions of box sides at all locations.

    Args:
        student: (N, A, 4, bins) logits.
        teacher: (N, A, 4, bins) logits; no gradient flows into them.
        weights: (N, A)
        matches: (N, A) as of `class_imitation`.
    Returns:
        Scalar (), the mean over all locations with the given weights.
    """
    counted = weights.masked_fill(matches == IGNORED, 0)
    losses = tempered_divergence(student, teacher, 1.0).mean(-1)  # (N, A)
    return (losses * counted).sum() / divisor(counted.sum(), least=torch.finfo(counted.dtype).tiny)


def box_losses(student: Tensor, teacher: Tensor, measure: BoxMeasure = "giou") -> Tensor:
    """Compare the boxes of each location.

    Args:
        student: (…, 4) xyxy in pixels.
        teacher: (…, 4); no gradient flows into it.
        measure: `giou` is 1 - GIoU, `iou` is -log IoU.
    Returns:
        (…), at least 0.
    """
    if measure == "iou":
        return -paired_iou(student, teacher.detach()).clamp(min=_LEAST_IOU).log()
    return giou_loss(student, teacher.detach())


def best_scores(logits: Tensor) -> Tensor:
    """Return the score of the best class of each location, without gradient: (…, K) logits to (…) in [0, 1]."""
    return logits.detach().amax(-1).sigmoid()


def count_positives(matches: Tensor) -> Tensor:
    """Count the locations that have an object, at least one for each image: (N, A) matches to () float32."""
    return (matches >= 0).sum(1).clamp(min=1).sum().float()


def joined(levels: Sequence[Tensor]) -> Tensor:
    """Join the outputs of all levels, each (N, A_l, …), to (N, A, …)."""
    return torch.cat(list(levels), dim=1)
