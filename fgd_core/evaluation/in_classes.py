"""A detector judged on data with another list of classes than its own."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from fgd_core.data.targets import Targets
from fgd_core.detectors.base import Detections, Detector
from fgd_core.spec.results import Scores


class InClassesOf(Detector):
    """Finds the boxes that `detector` finds, numbered as the data numbers its classes; what the data does not know is
    left out.

    Args:
        places: the detector's label -> the data's.
        num_classes: of the data.
    """

    def __init__(self, detector: Detector, places: Mapping[int, int], num_classes: int) -> None:
        super().__init__()
        self.detector, self.levels, self.num_classes = detector, detector.levels, num_classes
        self._places = torch.tensor([places.get(label, -1) for label in range(detector.num_classes)])

    def features(self, images: Tensor) -> list[Tensor]:
        return self.detector.features(images)

    def losses(self, features: Sequence[Tensor], targets: Targets) -> dict[str, Tensor]:
        """Of the objects that the detector has a class for."""
        labels, known = [], []
        for own in targets.labels:
            match = own[:, None] == self._places.to(own.device)  # (n, the detector's classes)
            known.append(match.any(1))
            labels.append(match.int().argmax(1)[known[-1]])
        masks = targets.masks
        return self.detector.losses(
            features,
            targets._replace(
                boxes=[boxes[keep] for boxes, keep in zip(targets.boxes, known, strict=True)],
                labels=labels,
                masks=None if masks is None else [own[keep] for own, keep in zip(masks, known, strict=True)],
            ),
        )

    def detect(self, features: Sequence[Tensor], image_sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        return [self._renumbered(found) for found in self.detector.detect(features, image_sizes)]

    def _renumbered(self, found: Detections) -> Detections:
        labels = self._places.to(found.labels.device)[found.labels]
        keep = labels >= 0
        return Detections(found.boxes_xyxy_px[keep], found.scores[keep], labels[keep])


def ap_over(scores: Scores, classes: Sequence[str]) -> float | None:
    """The mean AP over some of the classes; None where none of them has an object."""
    known = [scores.per_class[name].ap for name in classes]
    aps = [ap for ap in known if ap is not None]
    return sum(aps) / len(aps) if aps else None
