"""Random changes of training images besides resizing and horizontal flips.

To add one: a class here, a member of `AugmentSpec`, and a function in `fgd_core.data.augments`.
"""

from typing import Annotated, ClassVar, Literal, TypeAlias

from pydantic import AfterValidator, Field

from fgd_core.spec.base import Command

Stage: TypeAlias = Literal["original", "resizing", "resized"]


class AnyAugment(Command):
    """The settings that all random changes have."""

    stage: ClassVar[Stage] = "resized"
    """What it changes: the image at its original size; how the image is resized; or the resized and flipped image."""
    needs_masks: ClassVar[bool] = False
    """Whether it reads the masks of the objects, even if the detector does not learn them."""
    suits_keypoints: ClassVar[bool] = True
    """Whether keypoints stay true to their names."""

    until_epoch: int | None = Field(default=None, ge=1)
    """The number of epochs in which it is applied. None: all."""


class GaussianNoise(AnyAugment):
    """Adds Gaussian noise to some images, with the same noise on all pictures of an image."""

    stage = "original"

    type: Literal["gaussian_noise"] = "gaussian_noise"
    probability: float = Field(default=0.3, ge=0, le=1)
    """The probability that an image is changed, in [0, 1]. Published for IKD (arXiv:2209.09841): 0.3."""
    deviation: float = Field(default=0.08, gt=0, le=1)
    """Standard deviation of the noise, as a fraction of the largest pixel value. 0.08 is severity 1 of the usual
    corruption benchmarks (arXiv:1903.12261), as published for IKD."""
    images: Literal["all", "all_small"] = "all_small"
    """Which images can be changed. `all_small`: only images on which every box is smaller than 32x32 px, in pixels of
    the original image; an image without boxes is one of them. This is the published setting of IKD."""


class RandomCrop(AnyAugment):
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


class VerticalFlip(AnyAugment):
    """Mirrors some images top to bottom, for images without an upper side, such as those of microscopes and satellites.

    `input.flip_probability` mirrors left to right. Detectors with keypoints refuse it: their names do not say which
    keypoint takes the place of which.
    """

    suits_keypoints = False

    type: Literal["vertical_flip"] = "vertical_flip"
    probability: float = Field(default=0.5, ge=0, le=1)
    """The probability that an image is mirrored."""


class PhotometricJitter(AnyAugment):
    """Changes brightness, contrast, saturation and hue, in this order. Other pictures, such as depth maps, keep their
    values.

    The defaults are those of SSD (arXiv:1512.02325) as torchvision has them.
    """

    type: Literal["photometric_jitter"] = "photometric_jitter"
    probability: float = Field(default=0.5, ge=0, le=1)
    """The probability of each of the four changes, which are drawn separately."""
    brightness: float = Field(default=0.125, ge=0, le=1)
    """The factor on the brightness is between 1 - this and 1 + this."""
    contrast: float = Field(default=0.5, ge=0, le=1)
    """The factor on the contrast is between 1 - this and 1 + this."""
    saturation: float = Field(default=0.5, ge=0, le=1)
    """The factor on the saturation is between 1 - this and 1 + this."""
    hue: float = Field(default=0.05, ge=0, le=0.5)
    """The hue turns by at most this part of the colour circle, in both directions."""


def _ordered(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] > bounds[1]:
        raise ValueError(f"{bounds[0]} is above {bounds[1]}; write the smaller bound first")
    return bounds


_Factor: TypeAlias = Annotated[float, Field(gt=0, le=4)]
Factors: TypeAlias = Annotated[tuple[_Factor, _Factor], AfterValidator(_ordered)]
_Fraction: TypeAlias = Annotated[float, Field(ge=0, le=1)]
Fractions: TypeAlias = Annotated[tuple[_Fraction, _Fraction], AfterValidator(_ordered)]


class LargeScaleJitter(AnyAugment):
    """Resizes each image by a further random factor, and cuts a random part of the usual size out of a larger image.

    A smaller image is padded as usual: with its batch. As in simple copy-paste (arXiv:2012.07177), whose training is
    long: 100 epochs and more.
    """

    stage = "resizing"

    type: Literal["large_scale_jitter"] = "large_scale_jitter"
    scale: Factors = (0.1, 2.0)
    """Smallest and largest factor on the size that `input.shorter_px` gives. Published: 0.1 to 2; 0.8 to 1.25 is the
    standard jitter of the same paper."""


class Mosaic(AnyAugment):
    """Shows four images around a random point in place of one: the image itself at the upper left and three others
    (YOLOv4, arXiv:2004.10934). The mosaic has the size of the image.

    The others are drawn from the training split; they are resized and flipped like the image itself, without the
    changes before this one in the list. The changes after it change the whole mosaic. Published recipes end it for the
    last epochs; see `until_epoch`.
    """

    type: Literal["mosaic"] = "mosaic"
    probability: float = Field(default=1.0, ge=0, le=1)
    """The probability that an image becomes a mosaic."""
    scale: Factors = (0.5, 1.5)
    """Smallest and largest factor on the size of the four images, one for each mosaic. Of a large image, the mosaic
    shows only the part next to the point; beside a small one, it is filled with the mean colour."""
    centre: Fractions = (0.25, 0.75)
    """Where the point can be, as fractions of the height and of the width."""


class MixUp(AnyAugment):
    """Blends some images with another one, and keeps the objects of both (arXiv:1902.04103).

    The other image is drawn and prepared as for `mosaic`.
    """

    type: Literal["mixup"] = "mixup"
    probability: float = Field(default=0.5, ge=0, le=1)
    """The probability that an image is blended."""
    alpha: float = Field(default=32.0, gt=0)
    """The image's share of the blend is drawn from Beta(alpha, alpha). 32 gives shares near one half, so that the
    objects of both images are visible; all of them count fully in the loss."""


class CopyPaste(AnyAugment):
    """Copies objects of another image, by their masks, onto the image (simple copy-paste, arXiv:2012.07177).

    Objects under the copies lose the covered part: their masks and boxes shrink, covered keypoints become hidden, and
    objects that are no longer visible are dropped. The other image is drawn and prepared as for `mosaic`. The data must
    have masks; the detector need not learn them. Published with `large_scale_jitter`.
    """

    needs_masks = True

    type: Literal["copy_paste"] = "copy_paste"
    probability: float = Field(default=0.5, ge=0, le=1)
    """The probability that objects are copied onto an image."""
    share: float = Field(default=0.5, gt=0, le=1)
    """The probability of each object of the other image to be copied."""


AugmentSpec: TypeAlias = Annotated[
    GaussianNoise | RandomCrop | VerticalFlip | PhotometricJitter | LargeScaleJitter | Mosaic | MixUp | CopyPaste,
    Field(discriminator="type"),
]
