"""Estimates a detector's AP on a split from a random sample of its images, with an interval."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
from pydantic import JsonValue
from torch import Tensor

from fgd_core.data.samples import DetectionDataset
from fgd_core.evaluation.coco import coco_scores
from fgd_core.evaluation.inference import ImageDetections
from fgd_core.evaluation.relabelled import mean_ap
from fgd_core.spec.base import Fact
from fgd_core.spec.events import ApSample

SAMPLE_IMAGES = 1500
"""On COCO's 5,000 images the AP of so many has a standard error of about 0.006, which settles a limit 0.02 below it."""
_GROUPS = 10
_T = 2.262
"""The 97.5 % quantile of Student's t with `_GROUPS` - 1 degrees of freedom."""


class TeacherAp(Fact):
    """A teacher's AP on a split."""

    ap: float | None
    """None without objects of its classes."""
    sample: ApSample | None = None
    """The sample that it was measured on; None for the whole split."""

    @classmethod
    def of(cls, stored: JsonValue) -> Self:
        """Read what was stored as JSON; older versions stored the AP alone."""
        return cls.model_validate(stored if isinstance(stored, dict) else {"ap": stored})

    def is_surely_above(self, limit: float | None) -> bool:
        """Return whether a sample shows that the AP on the whole split reaches a limit, or is above 0 without one."""
        if not self.ap:
            return False
        return limit is None or (self.sample is not None and self.sample.low >= limit)


class SampledDataset:
    """Implements `DetectionDataset`: some images of a split, in the split's order."""

    def __init__(self, dataset: DetectionDataset, drawn: Sequence[int]) -> None:
        self._dataset, self._indices, self.drawn = dataset, sorted(drawn), drawn
        self.num_in_split = len(dataset.samples)
        self.categories, self.fingerprint = dataset.categories, dataset.fingerprint
        self.checked, self.refusal = dataset.checked, dataset.refusal
        self.samples = [dataset.samples[index] for index in self._indices]

    def load_image(self, index: int) -> Tensor:
        """Return the image as (3, H, W) uint8 RGB; see `DetectionDataset`."""
        return self._dataset.load_image(self._indices[index])

    def without_group(self, group: int) -> "SampledDataset":
        """Leave out one tenth of the images, drawn at random."""
        kept = [index for place, index in enumerate(self.drawn) if place % _GROUPS != group]
        return SampledDataset(self._dataset, kept)


def sample_of(dataset: DetectionDataset, num_images: int = SAMPLE_IMAGES) -> SampledDataset | None:
    """Draw a sample of a split, the same for the same data; None if the split is not larger than a sample."""
    count = len(dataset.samples)
    if count <= num_images:
        return None
    draw = np.random.default_rng(int(dataset.fingerprint[:16], 16))
    return SampledDataset(dataset, draw.permutation(count)[:num_images].tolist())


def estimate_ap(sample: SampledDataset, detections: Mapping[int, ImageDetections], classes: Sequence[str]) -> TeacherAp:
    """Estimate the mean AP of the classes on the whole split.

    The variance is that of the delete-a-group jackknife, times the share of the split that is not in the sample.

    Args:
        detections: of the sample's images, by image id.
    Source: Kott, The delete-a-group jackknife, Journal of Official Statistics 17 (2001).
    """

    def ap(part: SampledDataset) -> float | None:
        own = {image.image_id: detections[image.image_id] for image in part.samples}
        return mean_ap(coco_scores(part, own), classes)

    whole = ap(sample)
    if whole is None:
        return TeacherAp(ap=None)
    aps = [ap(sample.without_group(group)) or 0.0 for group in range(_GROUPS)]
    variance = (_GROUPS - 1) * statistics.pvariance(aps, whole)
    count = len(sample.samples)
    half = _T * (variance * (1 - count / sample.num_in_split)) ** 0.5
    return TeacherAp(ap=whole, sample=ApSample(num_images=count, low=max(0.0, whole - half), high=whole + half))
