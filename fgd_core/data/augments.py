"""The random changes of training images that `fgd_core.spec.augments` names.

Each is a pure function of its settings, the example and a generator that is made of (seed, epoch, index), so a resumed
run and any number of workers give the same images. To add one: a function and a row here, and a class in the spec.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from fgd_core.data.examples import Example, cropped
from fgd_core.spec.augments import AugmentSpec, GaussianNoise, RandomCrop

_WHITE = 255

# `Any`: each function takes its own settings, and the table brings the two together.
Augment: TypeAlias = Callable[[Any, Example, np.random.Generator], Example]


def add_noise(settings: GaussianNoise, example: Example, rng: np.random.Generator) -> Example:
    """Add Gaussian noise, the same to all pictures of the image; see `GaussianNoise`."""
    is_drawn = rng.random() < settings.probability
    if not is_drawn or (settings.images == "all_small" and not example.is_all_small):
        return example
    noise = rng.standard_normal(tuple(example.image.shape), dtype=np.float32) * (settings.deviation * _WHITE)

    def noisy(picture: Tensor) -> Tensor:
        """(3, H, W) uint8 to (3, H, W) uint8."""
        return torch.from_numpy(np.rint(picture.numpy() + noise).clip(0, _WHITE).astype(np.uint8))

    return example.with_pictures(noisy)


def crop_randomly(settings: RandomCrop, example: Example, rng: np.random.Generator) -> Example:
    """Cut a random part out of an image; see `RandomCrop`."""
    if settings.images == "not_all_small" and example.is_all_small:
        return example
    height, width = (int(side * rng.uniform(settings.min_side, 1) + 0.5) for side in example.size_px)
    top, left = (int(rng.integers(gap + 1)) for gap in (example.size_px[0] - height, example.size_px[1] - width))
    part = cropped(example, (top, left), (height, width))
    return part if len(part.labels) or not len(example.labels) else example


AUGMENTS: Mapping[type[AugmentSpec], Augment] = {GaussianNoise: add_noise, RandomCrop: crop_randomly}


def augmented(example: Example, chosen: Iterable[tuple[AugmentSpec, np.random.Generator]]) -> Example:
    """Apply changes to an example in their order.

    Args:
        chosen: the settings of each change, with its own generator.
    """
    for settings, rng in chosen:
        example = AUGMENTS[type(settings)](settings, example, rng)
    return example
