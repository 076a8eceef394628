"""Where images and boxes come from, and how they reach the network."""

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from fgd_core.spec.base import Command


class CocoSplit(Command):
    images: str
    """Folder that the `file_name` of every image is relative to."""
    annotations: str
    """COCO annotation file (JSON)."""


class Coco(Command):
    """Any data set in COCO format."""

    type: Literal["coco"] = "coco"
    train: CocoSplit
    val: CocoSplit
    on_bad: Literal["refuse", "drop"] = "refuse"
    """What to do with a missing or truncated image, an unknown category, a duplicate id: refuse the data set and name
    them all, or drop them, count them and go on. Boxes without area are always dropped, boxes past the border always
    clipped; both are counted."""


SHAPE_NAMES = ("circle", "square", "triangle", "star", "cross")
"""The classes of `Shapes`."""


class Shapes(Command):
    """A synthetic data set, drawn on the spot from a seed: the same seed gives the same pixels."""

    type: Literal["shapes"] = "shapes"
    num_train: int = Field(default=400, ge=1)
    num_val: int = Field(default=100, ge=1)
    image_size_px: int = Field(default=128, ge=32, le=1024)
    seed: int = Field(default=0, ge=0)


DataSpec: TypeAlias = Annotated[Coco | Shapes, Field(discriminator="type")]


class InputSpec(Command):
    """From the file to the network."""

    shorter_px: int = Field(default=800, ge=32)
    """The shorter side is resized to this,"""
    longer_px: int = Field(default=1333, ge=32)
    """unless the longer side would then exceed this. The ratio is kept."""
    flip_probability: float = Field(default=0.5, ge=0, le=1)
    """Chance of a horizontal flip in training."""
    pad_to_px: int = Field(default=32, ge=1)
    """Batches are padded with zeros, right and bottom, to a multiple of this."""
