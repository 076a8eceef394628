"""Evaluates a detector on data with other classes than its own."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from fgd_core.data.targets import Targets
from fgd_core.detectors.base import Detections, Detector, Out
from fgd_core.spec.results import Scores


class RelabelledDetector(Detector[Out]):
    """Detects the boxes of `detector` with the data's labels; boxes of classes that the data lacks are dropped.

    Args:
        labels: the detector's label -> the data's label.
        num_classes: of the data.
    """

    def __init__(self, detector: Detector[Out], labels: Mapping[int, int], num_classes: int) -> None:
        super().__init__()
        self.detector, self.levels, self.num_classes = detector, detector.levels, num_classes
        self._labels = torch.tensor([labels.get(label, -1) for label in range(detector.num_classes)])

    def features(self, images: Tensor) -> list[Tensor]:
        """As of `detector`: (N, 3, H, W) to one (N, C, H / stride, W / stride) for each level."""
        return self.detector.features(images)

    def predict(
        self, features: Sequence[Tensor], image_sizes: Sequence[tuple[int, int]], targets: Targets | None = None
    ) -> Out:
        """Run the heads of `detector`, whose classes the outputs have.

        Args:
            features: for each level (N, C, H, W).
        """
        return self.detector.predict(features, image_sizes, None if targets is None else self._known(targets))

    def losses(self, out: Out, targets: Targets) -> dict[str, Tensor]:
        """Compute the losses of the objects that the detector has a class for: name to scalar."""
        return self.detector.losses(out, self._known(targets))

    def detect(self, out: Out, image_sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        """Detect (n, 4) boxes with the data's labels."""
        return [self._relabel(detections) for detections in self.detector.detect(out, image_sizes)]

    def _known(self, targets: Targets) -> Targets:
        """Keep the objects that the detector has a class for, with its labels."""
        labels, known = [], []
        for own in targets.labels:
            match = own[:, None] == self._labels.to(own.device)  # (n, the detector's classes)
            known.append(match.any(1))
            labels.append(match.int().argmax(1)[known[-1]])
        masks, keypoints = targets.masks, targets.keypoints
        return targets._replace(
            boxes=[boxes[keep] for boxes, keep in zip(targets.boxes, known, strict=True)],
            labels=labels,
            masks=None if masks is None else [own[keep] for own, keep in zip(masks, known, strict=True)],
            keypoints=None if keypoints is None else [own[keep] for own, keep in zip(keypoints, known, strict=True)],
        )

    def _relabel(self, detections: Detections) -> Detections:
        labels = self._labels.to(detections.labels.device)[detections.labels]
        keep = labels >= 0
        kept = Detections(*(None if part is None else part[keep] for part in detections))  # type: ignore[arg-type]
        return kept._replace(labels=labels[keep])


def mean_ap(scores: Scores, classes: Sequence[str]) -> float | None:
    """Average the AP of the given classes; None if none of them has an object."""
    known = [scores.per_class[name].ap for name in classes]
    aps = [ap for ap in known if ap is not None]
    return sum(aps) / len(aps) if aps else None
