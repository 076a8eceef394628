"""Shows mildly altered copies of the images of a split."""

import numpy as np
from torch import Tensor

from fgd_core.data.augments import with_other_colours
from fgd_core.data.samples import DetectionDataset
from fgd_core.spec.augments import PhotometricJitter
from fgd_core.spec.evaluation import AlteredImages

_HUE = 0.2
"""Bound of the hue for a strength of 1."""


class Altered:
    """Implements `DetectionDataset`: one copy of each image of a split, with other colours and the same boxes.

    The colours of a copy depend only on the settings, the number of the copy and the place of the image.
    """

    def __init__(self, dataset: DetectionDataset, settings: AlteredImages, copy: int) -> None:
        self._dataset, self._seeds = dataset, (settings.seed, copy)
        strength = settings.strength
        self._change = PhotometricJitter(
            probability=1, brightness=strength, contrast=strength, saturation=strength, hue=_HUE * strength
        )
        self.categories, self.samples, self.fingerprint = dataset.categories, dataset.samples, dataset.fingerprint
        self.checked, self.refusal = dataset.checked, dataset.refusal

    def load_image(self, index: int) -> Tensor:
        """Return the altered image as (3, H, W) uint8 RGB; see `DetectionDataset`."""
        rng = np.random.default_rng((*self._seeds, index))
        return with_other_colours(self._dataset.load_image(index), self._change, rng)
