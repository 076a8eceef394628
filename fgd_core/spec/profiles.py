"""What a split of a data set is made of, in figures."""

from typing import Literal

from fgd_core.spec.base import Fact


class Bin(Fact):
    """So many things had a value from `first` to `last`, both included."""

    first: int
    last: int | None
    """None: no end."""
    count: int


class SizeCount(Fact):
    width_px: int
    height_px: int
    num_images: int


class SplitProfile(Fact):
    split: Literal["train", "val"]
    num_small: int
    """Objects below 32 x 32 pixels, of the original image;"""
    num_medium: int
    """from there to 96 x 96;"""
    num_large: int
    """and above: COCO's limits, by area of the mask where there is one. Crowd regions are left out throughout."""
    images_per_category: dict[str, int]
    """In which at least one object is of it."""
    objects_per_image: list[Bin]
    longer_sides_px: list[Bin]
    """Images by their longer side."""
    common_sizes: list[SizeCount]
    """The most frequent ones, up to ten."""
    num_sizes: int
    """Different ones."""
