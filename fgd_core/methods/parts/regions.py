"""Compares the heads of two two-stage detectors on the same regions."""

import torch
from torch import Tensor

from fgd_core.boxes import paired_iou
from fgd_core.methods.parts.divergence import tempered_divergence
from fgd_core.ranks import divisor


def region_divergence(student: Tensor, teacher: Tensor, is_counted: Tensor, temperature: float) -> Tensor:
    """Compute the mean divergence of the class distributions over the counted regions.

    DeFeat (arXiv:2103.14475) calls this once for regions with an object and once for background, of which there are
    many more.

    Args:
        student: (n, 1 + K) logits.
        teacher: (n, 1 + K) logits of the same regions; no gradient flows into them.
        is_counted: (n,) bool.
        temperature: of both softmaxes; the loss is multiplied by its square.
    Returns:
        Scalar (); 0 if no region is counted.
    """
    return counted_mean(tempered_divergence(student, teacher, temperature), is_counted)


def counted_mean(losses: Tensor, is_counted: Tensor) -> Tensor:
    """Average losses (n,) over the rows that are counted, (n,) bool; 0 with a gradient of 0 if there is none."""
    return (losses * is_counted).sum() / divisor(is_counted.sum())


def expected_deltas(deltas: Tensor, logits: Tensor) -> Tensor:
    """Average the box deltas of each region over the classes, weighted by the probabilities of the classes.

    Args:
        deltas: (n, K, 4) of each class.
        logits: (n, 1 + K), background first; no gradient flows into them.
    Returns:
        (n, 4). The probabilities of the classes and of the background sum to 1, so the deltas of background are small.
    Source: the box loss of G-DetKD, arXiv:2108.07482.
    """
    return torch.einsum("nk,nkd->nd", logits.detach().softmax(-1)[:, 1:], deltas)


def of_own_class(columns: Tensor, labels: Tensor) -> Tensor:
    """Select what was predicted for each region's own class.

    Args:
        columns: (n, K, 4) of each class.
        labels: (n,) 0 is the background, whose regions get the column of the first class.
    Returns:
        (n, 4)
    """
    return columns[torch.arange(len(labels), device=labels.device), (labels - 1).clamp(min=0)]


@torch.no_grad()
def improves(refined: Tensor, proposals: Tensor, objects: Tensor) -> Tensor:
    """Find the regions whose refined box overlaps the object more than the proposal does.

    Args:
        refined: (n, 4) xyxy in pixels.
        proposals: (n, 4)
        objects: (n, 4) the object of each region.
    Returns:
        (n,) bool
    Source: the gate of task-adaptive distillation, arXiv:2006.13108, as others describe it.
    """
    return paired_iou(refined, objects) > paired_iou(proposals, objects)
