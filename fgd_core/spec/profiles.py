"""Statistics of a split of a data set."""

from typing import Literal

from fgd_core.spec.base import Fact


class Bin(Fact):
    """A bin of a histogram: `count` things had a value from `first` to `last`, inclusive."""

    first: int
    last: int | None
    """None: without an upper limit."""
    count: int


class SizeCount(Fact):
    """The number of images of one size."""

    width_px: int
    height_px: int
    num_images: int


class SplitProfile(Fact):
    """Sizes and numbers of the images and objects of a split. Crowd regions are not counted."""

    split: Literal["train", "val"]
    num_small: int
    """Objects smaller than 32 x 32 pixels of the original image. As in COCO, size is the area of the mask, or of the
    box if there is no mask."""
    num_medium: int
    """Objects from 32 x 32 to 96 x 96 pixels."""
    num_large: int
    """Objects larger than 96 x 96 pixels."""
    images_per_category: dict[str, int]
    """Images with at least one object of the category, by category."""
    objects_per_image: list[Bin]
    """Images by their number of objects."""
    longer_sides_px: list[Bin]
    """Images by the length of their longer side."""
    common_sizes: list[SizeCount]
    """The most frequent image sizes, at most ten."""
    num_sizes: int
    """Number of different image sizes."""
