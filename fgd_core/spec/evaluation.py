"""What the last evaluation of a run measures besides its scores, for studies of fairness."""

from typing import Annotated, Self, TypeAlias

from pydantic import Field, model_validator

from fgd_core.spec.base import Command


class AlteredImages(Command):
    """Copies of the validation images with slightly other brightness, contrast, saturation and hue; boxes stay.

    A detector should find in a copy what it finds in the image. The result says how often it does not. All runs with
    the same settings see the same copies.
    """

    copies: int = Field(default=2, ge=1, le=10)
    """Copies of each image. Each costs a run one more evaluation, at its end."""
    strength: float = Field(default=0.1, gt=0, le=0.5)
    """Brightness, contrast and saturation are multiplied by factors between 1 - this and 1 + this; the hue turns by at
    most a fifth of this part of the colour circle."""
    seed: int = Field(default=0, ge=0)
    """Another seed gives other copies."""


class ImageGroups(Command):
    """Divides the validation images by an attribute: a group for each value, or for each range of a number."""

    edges: tuple[float, ...] = Field(default=(), max_length=9)
    """Where the ranges of a number meet, by rising value: `[100, 300]` gives below 100, 100 to 300, and 300 or more.
    Empty: a group for each value, of which there may be at most ten."""

    @model_validator(mode="after")
    def _edges_rise(self) -> Self:
        if any(low >= high for low, high in zip(self.edges, self.edges[1:], strict=False)):
            raise ValueError(f"edges {[*self.edges]} do not rise; write each once, the smallest first")
        return self


AttributeName: TypeAlias = Annotated[str, Field(min_length=1, max_length=40)]
Attributes: TypeAlias = Annotated[dict[AttributeName, ImageGroups], Field(max_length=10)]


class Contents(Command):
    """What a validation split must have."""

    classes: tuple[str, ...] = ()
    """Names of classes that it must have."""
    image_ids: tuple[int, ...] = ()
    """Ids of images that it must have."""


class EvaluationSpec(Command):
    """What the last evaluation of a run measures besides its scores. No step of a training depends on it."""

    altered: AlteredImages | None = None
    """Also detects on mildly altered copies of the validation images. None: it does not."""
    attributes: Attributes = {}
    """Stores for each validation image its group by these attributes, so that a study can compare the groups. An
    attribute is any key of COCO's `images` whose values are texts, numbers, true or false. Every data set has
    `width` and `height` in pixels, `num_boxes`, and `brightness`, the mean of the pixels in [0, 1]."""
    expected: Contents = Contents()
    """Classes and images that the validation split must have; without them a run fails before its first step. A study
    sets those of its groups, so that a misspelt name does not cost all of its runs."""
