"""A distiller made of parts: what is compared, where, how it is normalised, and with which distance."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from fgd_core.spec.detectors import AnyDetector, Fcos, Gfl, RepPoints, TwoStage
from fgd_core.spec.dimensions import Choice, Condition, LogUniform
from fgd_core.spec.methods.base import Space, SumsOverCells, Unmet
from fgd_core.spec.methods.same_head import differences

Source: TypeAlias = Literal["backbone", "maps", "regions", "logits"]
Cells: TypeAlias = Literal[
    "all", "objects", "background", "gaussian", "object_areas", "background_areas", "confidence", "each_object"
]
Attention: TypeAlias = Literal["none", "cells", "channels", "both"]
Transform: TypeAlias = Literal[
    "none", "channels", "cells", "images", "map", "attention_of_cells", "attention_of_channels", "context"
]
AttentionOf: TypeAlias = Literal["teacher", "each"]
Distance: TypeAlias = Literal["l1", "l2", "kl_over_cells", "kl_over_channels", "relation"]

_ATTENTION = Condition(field="method.attention", is_in=("cells", "channels", "both"))
_DIVERGENCES = Condition(field="method.distance", is_in=("kl_over_cells", "kl_over_channels"))
_FORM: Space = {
    "method.of": Choice(values=("backbone", "maps", "regions", "logits")),
    "method.cells": Choice(values=("all", "objects", "gaussian", "object_areas", "confidence", "each_object")),
    "method.attention": Choice(values=("none", "cells", "channels", "both")),
    "method.attention_of": Choice(values=("teacher", "each"), when=_ATTENTION),
    "method.pooling": Choice(values=(1, 2)),
    "method.transform": Choice(values=("none", "channels", "cells", "images", "map")),
    "method.distance": Choice(values=("l1", "l2", "kl_over_cells", "kl_over_channels", "relation")),
    "method.temperature": LogUniform(low=0.5, high=8, when=_DIVERGENCES),
    "method.scale_schedule": Choice(values=(None, {"decay": "linear"})),
}
"""The searched form: every combination is a loss without parameters beyond the adapter. `preset_space` leaves out what
a pair has not got."""

_ALL_STAGES = 5
_LEAST_TO_COMPARE = 2
_WHOLE_MAPS: Mapping[str, object] = {
    "cells": "all",
    "attention": "channels",
    "attention_of": "each",
    "pooling": 2,
    "transform": "images",
    "distance": "l1",
    "temperature": 0.5,
    "levels": None,
}
_ON_WHOLE_MAPS: Mapping[type[AnyDetector], float] = {Fcos: 5.0, Gfl: 10.0, RepPoints: 10.0, TwoStage: 2.0}
"""The weight of that form by the kind of the student. Source: the configurations and the code of DetKDS. Its FCOS has a
second term on randomly masked maps, which is not a point of this space."""


class Composed(SumsOverCells):
    """A distiller made of parts, for sweeps over the form of the loss: each field names one part, and every combination
    is a loss. Several, each with its own form, are the parts of a `mixed` method.

    Known methods are points of this space. `pkd`, the Pearson correlation: transform channels, distance l2, weight half
    of its own. `cwd`: distance kl_over_cells. `fitnet`: distance l2. `fgd` is a mixture of five: with reduction sum,
    distance l2, attention both and cells object_areas (alpha) or background_areas (beta); distance l1 of
    attention_of_cells and of attention_of_channels (gamma each); and distance l2 of the context (lambda).

    DetKDS (ICML 2024, PMLR 235) found forms by a search over such parts. The defaults are close to its form for
    RetinaNet from X101, which compares objects. For FCOS, GFL, RepPoints and two-stage students it compares whole maps,
    each with its own channel attention, pooled, over the images of the batch; the published values have this form.
    Published for COCO, gains over the student alone: RetinaNet 3.7, Faster R-CNN 4.1, FCOS 4.0, RepPoints 3.7, GFL 3.5.
    """

    weight_fields = {"weight": "difference"}
    searched_scale = "auto"
    kept_by_baselines = (
        "of", "cells", "attention", "attention_of", "pooling", "transform", "distance", "reduction", "temperature",
        "levels", "normalise", "weight"
    )  # fmt: skip

    type: Literal["composed"] = "composed"
    of: Source = "maps"
    """What is compared: the maps of the `backbone`, those stages of it that train; the `maps` of the pyramid; the
    features of the `regions` that a two-stage student trains on, each 7 x 7 cells, which needs two two-stage detectors;
    or the class `logits` of the heads as maps, which needs two detectors of one kind without regions."""
    cells: Cells = "each_object"
    """Which cells count. `objects`: those that boxes cover; `background`: the others. `gaussian`: weights that are
    largest at the centres of objects. `object_areas` and `background_areas`: as in `fgd`, where every object has the
    same total weight. `confidence`: weights by the teacher's highest class score at the cell. `each_object`: each
    object is cut out of the map as 7 x 7 cells and compared by itself; of regions, each region that is matched to an
    object. The objects in a region are the one that it is matched to."""
    attention: Attention = "channels"
    """What else weighs the values: attention, which is large where features are, over cells, over channels, or both."""
    attention_of: AttentionOf = "teacher"
    """`teacher`: the teacher's attention weighs the distances. `each`: before they are compared, the values of both are
    multiplied by the root of their own attention, as in DetKDS."""
    pooling: int = Field(default=1, ge=1, le=8)
    """Only the largest value of each square of so many cells in each direction is compared. DetKDS: 2 for whole
    maps."""
    transform: Transform = "cells"
    """What is done to both before they are compared. `channels`: each channel gets mean 0 and deviation 1 over the
    batch, or over the object. `cells`: the vector of each cell gets length 1. `images`: the values that the images of
    the batch, or its objects, have at one place get length 1; a worker needs two or more images at a time. `map`: the
    map of each image, or of each object, gets length 1. `attention_of_cells`, `attention_of_channels`: only their
    attention is compared. `context`: a trained block adds the context of the whole map to each cell, as in `fgd`."""
    distance: Distance = "l1"
    """How the two are compared: `l1`, `l2` (the square), the Kullback-Leibler divergence of distributions over the
    cells of a channel or over the channels of a cell, or the `relation` of cells, which is the cosine between each two
    of at most 8 x 8 parts of the map."""
    reduction: Literal["mean", "sum"] = "mean"
    """`mean`: over all values that count, by their weights. `sum`: over all, divided by the number of images."""
    temperature: Annotated[float, Field(gt=0)] | Literal["auto"] = "auto"
    """Temperature of attention and of distributions: a low one counts only the largest values. `auto`: the mean
    magnitude of the teacher's map, of each image."""
    weight: float = Field(default=50.0, ge=0)
    """Weight of the loss of each level. Published for the defaults: 50. Other forms are of other sizes, so search them
    with `scale: auto`."""
    levels: int | None = Field(default=4, ge=1)
    """Number of levels that are compared, from the finest on. None: all."""

    @classmethod
    def spaces(cls, published: Self) -> Mapping[str, Space]:
        """Return the presets: the scale, or the form of the loss."""
        return {**super().spaces(published), "composed-form": _FORM}

    @property
    def compares_stages(self) -> bool:
        """Whether it compares the maps of the backbones."""
        return self.of == "backbone"

    def published(self, student: AnyDetector, teacher: AnyDetector | None) -> Self:
        """Return the form that DetKDS found for the student's kind; a form that is not the default is kept."""
        found = super().published(student, teacher)
        weight = next((weight for kind, weight in _ON_WHOLE_MAPS.items() if isinstance(student, kind)), None)
        if weight is None or found != type(self)():
            return found
        return found.model_copy(update={**_WHOLE_MAPS, "weight": weight})

    @model_validator(mode="after")
    def _has_channels_for_the_context(self) -> Self:
        if self.of == "logits" and self.transform == "context":
            raise ValueError("transform context is for maps, not for logits; set of to maps, or another transform")
        return self

    def unmet(self, student: AnyDetector, teacher: AnyDetector | None) -> Iterator[Unmet]:
        """Yield why this pair cannot be distilled: class logits that a detector has not got, or of another kind."""
        yield from super().unmet(student, teacher)
        match self.of:
            case "backbone" if student.backbone.frozen_stages == _ALL_STAGES:
                yield Unmet("method.of", "no stage of the student's backbone trains; set it to maps, or freeze less")
            case "regions":
                for each in (student, teacher):
                    if each is not None and "regions" not in each.offers:
                        yield Unmet("method.of", f"{each.name()} has no region heads; set it to maps")
            case "logits":
                if "class_scores" not in student.offers:
                    yield Unmet("method.of", f"{student.name()} has no class scores at every location; set it to maps")
                yield from differences(self, student, teacher)
        if self.cells == "confidence" and self.of != "regions" and teacher and "class_scores" not in teacher.offers:
            yield Unmet("method.cells", f"{teacher.name()} has no class scores at every location; choose other cells")

    def unmet_by_images(self, num_images: int) -> Iterator[Unmet]:
        """Yield why the images of a batch cannot be compared with each other: there is only one."""
        if self.transform == "images" and num_images < _LEAST_TO_COMPARE:
            # The only value at a place has length 1 already, whatever the student does: the gradient would be 0.
            message = (
                f"transform images compares the images that a worker sees at a time, and it would see {num_images}; "
                f"give each worker at least {_LEAST_TO_COMPARE}, or choose another transform"
            )
            yield Unmet("method.transform", message)
