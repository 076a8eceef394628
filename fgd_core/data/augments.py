"""The random changes of training images that `fgd_core.spec.augments` names.

Each is a pure function of its settings, the example and a generator that is made of (seed, epoch, index), so a resumed
run and any number of workers give the same images. To add one: a function and a row here, and a class in the spec.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import functional

from fgd_core.data.combining import Draw, copy_objects, make_mosaic, mix_up
from fgd_core.data.examples import Example, cropped, flipped_vertically, resized_to, without_slivers
from fgd_core.data.transforms import resized_size
from fgd_core.spec.augments import (
    AugmentSpec,
    CopyPaste,
    GaussianNoise,
    LargeScaleJitter,
    MixUp,
    Mosaic,
    PhotometricJitter,
    RandomCrop,
    VerticalFlip,
)
from fgd_core.spec.data import IMAGE

_WHITE = 255

# `Any`: each function takes its own settings, and the table brings the two together.
Augment: TypeAlias = Callable[[Any, Example, Draw], Example]


def add_noise(settings: GaussianNoise, example: Example, draw: Draw) -> Example:
    """Add Gaussian noise, the same to all pictures of the image; see `GaussianNoise`."""
    is_drawn = draw.rng.random() < settings.probability
    if not is_drawn or (settings.images == "all_small" and not example.is_all_small):
        return example
    noise = draw.rng.standard_normal(tuple(example.image.shape), dtype=np.float32) * (settings.deviation * _WHITE)

    def noisy(picture: Tensor) -> Tensor:
        """(3, H, W) uint8 to (3, H, W) uint8."""
        return torch.from_numpy(np.rint(picture.numpy() + noise).clip(0, _WHITE).astype(np.uint8))

    return example.with_pictures(noisy)


def crop_randomly(settings: RandomCrop, example: Example, draw: Draw) -> Example:
    """Cut a random part out of an image; see `RandomCrop`."""
    if settings.images == "not_all_small" and example.is_all_small:
        return example
    height, width = (int(side * draw.rng.uniform(settings.min_side, 1) + 0.5) for side in example.size_px)
    part = _random_part(example, (height, width), draw.rng)
    return part if len(part.labels) or not len(example.labels) else example


def flip_vertically(settings: VerticalFlip, example: Example, draw: Draw) -> Example:
    """Mirror some images top to bottom; see `VerticalFlip`."""
    return flipped_vertically(example) if draw.rng.random() < settings.probability else example


def jitter_colours(settings: PhotometricJitter, example: Example, draw: Draw) -> Example:
    """Change brightness, contrast, saturation and hue of the image alone; see `PhotometricJitter`."""
    image = with_other_colours(example.image, settings, draw.rng)
    return example._replace(pictures={**example.pictures, IMAGE: image})


def with_other_colours(image: Tensor, settings: PhotometricJitter, rng: np.random.Generator) -> Tensor:
    """Change brightness, contrast, saturation and hue of an image (3, H, W) uint8."""
    # Not torchvision's v2: to import it loads PyTorch's compiler, which takes a second and 140 MB in each run.
    changes = (
        (functional.adjust_brightness, 1.0, settings.brightness),
        (functional.adjust_contrast, 1.0, settings.contrast),
        (functional.adjust_saturation, 1.0, settings.saturation),
        (functional.adjust_hue, 0.0, settings.hue),
    )
    for adjust, middle, bound in changes:
        # Both are drawn in any case: one change then never depends on whether another happens.
        is_drawn, value = rng.random() < settings.probability, rng.uniform(middle - bound, middle + bound)
        image = adjust(image, value) if is_drawn else image
    return image


def jitter_scale(settings: LargeScaleJitter, example: Example, draw: Draw) -> Example:
    """Resize an image by a further factor, and cut a part of the usual size; see `LargeScaleJitter`."""
    usual = resized_size(*example.size_px, draw.input_spec)
    factor = draw.rng.uniform(*settings.scale)
    scaled = resized_to(example, (max(1, round(usual[0] * factor)), max(1, round(usual[1] * factor))))
    height, width = (min(sides) for sides in zip(usual, scaled.size_px, strict=True))
    return without_slivers(_random_part(scaled, (height, width), draw.rng))


AUGMENTS: Mapping[type[AugmentSpec], Augment] = {
    GaussianNoise: add_noise,
    RandomCrop: crop_randomly,
    VerticalFlip: flip_vertically,
    PhotometricJitter: jitter_colours,
    LargeScaleJitter: jitter_scale,
    Mosaic: make_mosaic,
    MixUp: mix_up,
    CopyPaste: copy_objects,
}


def augmented(example: Example, chosen: Iterable[tuple[AugmentSpec, Draw]]) -> Example:
    """Apply changes to an example in their order.

    Args:
        chosen: the settings of each change, with what it draws from.
    """
    for settings, draw in chosen:
        example = AUGMENTS[type(settings)](settings, example, draw)
    return example


def _random_part(example: Example, size_px: tuple[int, int], rng: np.random.Generator) -> Example:
    """Cut out a part of (height, width) at a random place."""
    top, left = (int(rng.integers(whole - part + 1)) for whole, part in zip(example.size_px, size_px, strict=True))
    return cropped(example, (top, left), size_px)
