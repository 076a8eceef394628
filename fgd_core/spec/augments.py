"""Random changes of training images besides resizing and flips.

To add one: a class here, a member of `AugmentSpec`, and a function in `fgd_core.data.augments`.
"""

from typing import Annotated, ClassVar, Literal, TypeAlias

from pydantic import Field

from fgd_core.spec.base import Command


class _Augment(Command):
    before_resizing: ClassVar[bool] = False
    """Whether it changes the image at its original size; otherwise it changes the resized and flipped image."""

    until_epoch: int | None = Field(default=None, ge=1)
    """The number of epochs in which it is applied. None: all."""


class GaussianNoise(_Augment):
    """Adds Gaussian noise to some images, with the same noise on all pictures of an image."""

    before_resizing = True

    type: Literal["gaussian_noise"] = "gaussian_noise"
    probability: float = Field(default=0.3, ge=0, le=1)
    """The probability that an image is changed, in [0, 1]. Published for IKD (arXiv:2209.09841): 0.3."""
    deviation: float = Field(default=0.08, gt=0, le=1)
    """Standard deviation of the noise, as a fraction of the largest pixel value. 0.08 is severity 1 of the usual
    corruption benchmarks (arXiv:1903.12261), as published for IKD."""
    images: Literal["all", "all_small"] = "all_small"
    """Which images can be changed. `all_small`: only images on which every box is smaller than 32x32 px, in pixels of
    the original image; an image without boxes is one of them. This is the published setting of IKD."""


class RandomCrop(_Augment):
    """Cuts a random part out of each image. Boxes are clipped; objects outside the part are dropped.

    If no object of an image would be left, the image stays whole.
    """

    type: Literal["random_crop"] = "random_crop"
    min_side: float = Field(default=0.8, gt=0, le=1)
    """Smallest height and width of the part, as a fraction of the image's. Both are drawn separately, up to 1.
    Published for IKD: 0.8."""
    images: Literal["all", "not_all_small"] = "not_all_small"
    """Which images are cut. `not_all_small`: not those on which every box is smaller than 32x32 px; see
    `gaussian_noise`. This is the published setting of IKD."""


AugmentSpec: TypeAlias = Annotated[GaussianNoise | RandomCrop, Field(discriminator="type")]
