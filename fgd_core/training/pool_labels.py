"""Labels the images of a pool with the boxes that a teacher is sure of."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from fgd_core.data.loading import Batch
from fgd_core.detectors.base import Detections, Detector
from fgd_core.spec.events import PoolLabelled

SAMPLE_IMAGES = 512
"""Images of a pool on which the scores are found."""


class PoolLabels:
    """Takes as labels the boxes whose score reaches that of their class.

    Args:
        teacher: in eval mode, at its input scale; detects with the labels of the data.
        min_scores: for each class of the data.
    """

    def __init__(self, teacher: Detector, min_scores: Sequence[float]) -> None:
        self._teacher, self._min_scores = teacher, torch.tensor(min_scores)

    @torch.no_grad()
    def labelled(self, batch: Batch, pyramid: Sequence[Tensor]) -> Batch:
        """Return the batch with boxes and labels.

        Args:
            pyramid: the teacher's maps of the batch, each (N, C, H, W).
        """
        outputs = self._teacher.predict(pyramid, batch.image_sizes)
        found = [self._sure(each) for each in self._teacher.detect(outputs, batch.image_sizes)]
        return replace(batch, boxes=[boxes for boxes, _ in found], labels=[labels for _, labels in found])

    def _sure(self, found: Detections) -> tuple[Tensor, Tensor]:
        """Return the boxes (n, 4) and labels (n,) that are sure."""
        is_sure = found.scores >= self._min_scores.to(found.scores.device)[found.labels]
        return found.boxes_xyxy_px[is_sure].float(), found.labels[is_sure]


def min_scores(
    scores: Iterable[tuple[Tensor, Tensor]], labelled_per_image: Mapping[str, float], fixed: float | None = None
) -> PoolLabelled:
    """Return for each class the score above which a teacher finds as many boxes per image as the labels have.

    Args:
        scores: for each image of the pool the scores (n,) and labels (n,) of the teacher's boxes.
        labelled_per_image: boxes per image of the labelled images, by class, in the order of labels.
        fixed: the score of all classes in place of the rule; the boxes are counted all the same.
    Source: the adaptive threshold of LabelMatch, arXiv:2206.06608 §3.2.
    """
    rows = [*scores]
    all_scores, labels = (torch.cat([row[part] for row in rows]) for part in (0, 1))
    found, boxes = {}, {}
    for label, (name, expected) in enumerate(labelled_per_image.items()):
        own = all_scores[labels == label].sort(descending=True).values
        number = min(round(expected * len(rows)), len(own))
        # Without an expected box, no box is sure; with too few detections, all of them are.
        limit = fixed if fixed is not None else float(own[number - 1]) if number else 1.0
        found[name], boxes[name] = limit, float((own >= limit).sum()) / len(rows)
    return PoolLabelled(
        min_scores=found,
        boxes_per_image=boxes,
        labelled_boxes_per_image=dict(labelled_per_image),
        num_images=len(rows),
    )
