"""Runs the steps of a detector behind its feature maps in one call."""

from collections.abc import Sequence

from torch import Tensor

from fgd_core.data.targets import Targets
from fgd_core.detectors.base import Detections, Detector


def losses_of(detector: Detector, maps: Sequence[Tensor], targets: Targets) -> dict[str, Tensor]:
    return detector.losses(detector.predict(maps, targets.image_sizes, targets), targets)


def detections_of(
    detector: Detector, maps: Sequence[Tensor], image_sizes: Sequence[tuple[int, int]]
) -> list[Detections]:
    return detector.detect(detector.predict(maps, image_sizes), image_sizes)
