"""Localisation distillation (arXiv:2102.12252): imitates the teacher's distributions of box sides.

With p and q the teacher's and the student's distribution of one side, both at temperature T = 10:

    side loss   = T^2 / bins · KL(p || q)
    main        = Σ over locations of objects    s · Σ over 4 sides  side loss / 4
    valuable    = Σ over the region around them  v · Σ over 4 sides  side loss / 16
    classes     = mean over locations of objects of T'^2 / K · KL of the class distributions, T' = 2

s is the student's own best class score, and v is the greatest IoU of the location's anchor with the objects in whose
region it lies. A location lies in the region of an object if 0.25 t <= DIoU < t, where t is the object's threshold of
the assignment (ATSS): the mean plus the standard deviation of the IoUs of its candidates.

Source: the authors' code, which sums where the paper is silent. Each level is summed and averaged for itself.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torchvision.ops import box_iou, distance_box_iou

from fgd_core.methods.base import Lesson, Method, Side, Terms
from fgd_core.methods.parts.comparable import check_same_classes, check_same_locations
from fgd_core.methods.parts.dense import best_scores
from fgd_core.methods.parts.divergence import tempered_divergence
from fgd_core.methods.parts.precision import in_float32
from fgd_core.outputs import IGNORED, DistributionOutputs
from fgd_core.ranks import divisor, world_size
from fgd_core.spec.methods.ld import Ld

_LOWER_BOUND = 0.25
"""The lower bound of the valuable region, as a part of the object's threshold."""
_SIDES = 4
_VALUABLE_DIVISOR = 16


def side_losses(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Compute the loss of each distribution of a side.

    Args:
        student: (…, bins) logits.
        teacher: (…, bins) logits; no gradient flows into them.
    Returns:
        (…): T^2 / bins times the Kullback-Leibler divergence at the temperature.
    """
    return tempered_divergence(student, teacher, temperature) / student.shape[-1]


def main_loss(losses: Tensor, scores: Tensor, is_object: Tensor) -> Tensor:
    """Sum the side losses at the locations of objects.

    Args:
        losses: (N, A, 4) of `side_losses`.
        scores: (N, A) the student's best class score.
        is_object: (N, A) bool.
    Returns:
        Scalar ().
    """
    return world_size() * (losses.sum(-1) * scores * is_object).sum() / _SIDES


def valuable_loss(losses: Tensor, weights: Tensor) -> Tensor:
    """Sum the side losses (N, A, 4) in the valuable region, with the weights (N, A) of `valuable_weights`."""
    return world_size() * (losses.sum(-1) * weights).sum() / _VALUABLE_DIVISOR


def class_loss(student: Tensor, teacher: Tensor, is_object: Tensor, temperature: float) -> Tensor:
    """Average the divergence of the class distributions over the locations of objects.

    Args:
        student: (N, A, K) logits.
        teacher: (N, A, K) logits; no gradient flows into them.
        is_object: (N, A) bool.
    Returns:
        Scalar (); 0 without objects.
    """
    losses = tempered_divergence(student, teacher, temperature) / student.shape[-1]
    return (losses * is_object).sum() / divisor(is_object.sum())


@torch.no_grad()
def valuable_weights(anchors: Tensor, boxes: Tensor, thresholds: Tensor) -> Tensor:
    """Weigh the locations of one image by their worth for localisation.

    Args:
        anchors: (A, 4) xyxy in pixels.
        boxes: (n, 4) the objects, xyxy in pixels; n may be 0.
        thresholds: (n,) the least IoU at which the assignment gives a location to the object.
    Returns:
        (A,) in [0, 1]: the greatest IoU with the objects in whose region the anchor lies; 0 outside all regions.
    """
    if len(boxes) == 0:
        return anchors.new_zeros(len(anchors))
    distance_ious = distance_box_iou(anchors, boxes)  # (A, n)
    is_inside = (distance_ious >= _LOWER_BOUND * thresholds) & (distance_ious < thresholds)
    weights: Tensor = (box_iou(anchors, boxes) * is_inside).amax(1)
    return weights


class LdMethod(Method):
    """Compares the distributions and class scores of each level; it has no parameters."""

    def __init__(self, method: Ld, student: Side, teacher: Side) -> None:
        super().__init__()
        check_same_locations(method.name(), student, teacher)
        check_same_classes(method.name(), teacher)
        self._method = method
        self._weights = {"main": method.main, "valuable": method.valuable, "classes": method.classes}
        self._level_names = [level.name for level in student.levels]

    def forward(self, lesson: Lesson) -> Mapping[str, Terms]:
        """Compute the loss of each level, by its name."""
        student, teacher = lesson.student.outputs, lesson.teacher.outputs
        assert isinstance(student, DistributionOutputs) and isinstance(teacher, DistributionOutputs)
        counts = student.counts
        levels = zip(
            self._level_names,
            zip(student.distributions, teacher.distributions, strict=True),
            zip(student.logits, teacher.logits, strict=True),
            student.assigned.split_with_sizes(counts, 1),
            region_weights(student, lesson.targets.boxes).split_with_sizes(counts, 1),
            strict=True,
        )
        return {name: self._level(sides, logits, matches, weights) for name, sides, logits, matches, weights in levels}

    def _level(
        self, sides: tuple[Tensor, Tensor], logits: tuple[Tensor, Tensor], matches: Tensor, weights: Tensor
    ) -> Terms:
        """Compare the sides (N, A_l, 4, bins) and the logits (N, A_l, K) of both networks at one level.

        Args:
            matches: (N, A_l)
            weights: (N, A_l) of the valuable region.
        """
        is_object = matches >= 0
        with in_float32(*sides, *logits) as (student, teacher, scores, wanted):
            losses = side_losses(student, teacher, self._method.temperature)
            parts = {
                "main": main_loss(losses, best_scores(scores), is_object),
                "valuable": valuable_loss(losses, weights),
                "classes": class_loss(scores, wanted, is_object, self._method.class_temperature),
            }
        return Terms(parts, self._weights)

    def compares(self) -> Sequence[str]:
        """Return what is compared, in words."""
        return ("the distributions of box sides, at objects and around them", "the class scores at objects")


def region_weights(outputs: DistributionOutputs, boxes: Sequence[Tensor]) -> Tensor:
    """Weigh the locations of all images by their worth for localisation; see `valuable_weights`.

    Args:
        boxes: for each image (n, 4) the objects, xyxy in pixels.
    Returns:
        (N, A); 0 where the assignment ignores a location.
    """
    assert outputs.thresholds is not None, "these outputs were predicted without targets"
    weights = [
        valuable_weights(outputs.anchors, own, thresholds)
        for own, thresholds in zip(boxes, outputs.thresholds, strict=True)
    ]
    return torch.stack(weights).masked_fill(outputs.assigned == IGNORED, 0)


def build_ld(method: Ld, student: Side, teacher: Side) -> Method:
    """Build the method for a pair of detectors."""
    return LdMethod(method, student, teacher)
