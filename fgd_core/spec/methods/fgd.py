"""Focal and Global Distillation."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field

from fgd_core.spec.detectors import AnyDetector, Fcos, RepPoints, TwoStage
from fgd_core.spec.dimensions import LogUniform
from fgd_core.spec.methods.base import Normalise, Scale, Space, SumsOverCells

_WEIGHTS = {"alpha": "foreground", "beta": "background", "gamma": "attention", "lambda_": "relation"}
_TEMPERATURE = LogUniform(low=0.1, high=10)
_AROUND = 30
"""The searched range of a weight, as a factor below and above its published value."""


class Fgd(SumsOverCells):
    """Focal and Global Distillation (arXiv:2111.11837). The defaults are the published values for RetinaNet."""

    weight_fields = _WEIGHTS
    students_of_recipes = frozenset({"faster_rcnn", "fcos", "gfl", "mask_rcnn", "reppoints", "retinanet", "solo"})
    without_recipe: ClassVar[Mapping[str, str]] = {"scale": "auto", "temperature": "auto"}
    kept_by_baselines = ("mask",)

    type: Literal["fgd"] = "fgd"
    alpha: float = Field(default=1e-3, ge=0)
    """Weight of the foreground's feature loss."""
    beta: float = Field(default=5e-4, ge=0)
    """Weight of the background's feature loss."""
    gamma: float = Field(default=5e-4, ge=0)
    """Weight of the attention loss."""
    lambda_: float = Field(default=5e-6, ge=0)
    """Weight of the relation (global) loss."""
    temperature: Annotated[float, Field(gt=0)] | Literal["auto"] = 0.5
    """Temperature of the spatial and channel attention. The published 0.5 suits features of this mean magnitude.
    `auto`: the mean magnitude of the teacher's map, of each image on each level. It is what holds if a spec names none,
    unless the student and the input size are those of a recipe; in a sweep and in a mixture it is the published one."""
    scale: Scale = 1.0
    """A common factor on all four weights. The losses are sums over cells, so the published weights suit pretrained
    networks at 800x1333 pixels. Small networks without pretrained weights need about 0.2. `auto`, and what holds if a
    spec names no scale: see the same field of other methods."""
    normalise: Normalise = "none"
    """`hw`: the relation loss and the spatial half of the attention loss, which are sums over cells, become means over
    the cells of the padded batch, times the cells of an image of 800x1333 pixels at the same stride. The other losses
    do not grow with the images. `none`: sums, as published."""
    mask: Literal["geometric", "official"] = "geometric"
    """How boxes are placed on the feature map. `geometric`: at their true position. `official`: stretched over the
    padding, as in the authors' code."""

    @classmethod
    def spaces(cls, published: Self) -> Mapping[str, Space]:
        """Return the presets: all weights and the temperature, the scale, or the temperature."""
        values = published.model_dump(include={*_WEIGHTS})
        weights = {
            f"method.{name}": LogUniform(low=value / _AROUND, high=value * _AROUND) for name, value in values.items()
        }
        return {
            "fgd-weights": {**weights, "method.temperature": _TEMPERATURE},
            **super().spaces(published),
            "fgd-temperature": {"method.temperature": _TEMPERATURE},
        }

    def published(self, student: AnyDetector, teacher: AnyDetector | None) -> Self:
        """Return the values of the authors' configurations for the student's kind of detector."""
        plain = super().published(student, teacher)
        match student:
            case TwoStage():
                return plain.model_copy(update={"alpha": 5e-5, "beta": 2.5e-5, "gamma": 5e-5, "lambda_": 5e-7})
            case Fcos() | RepPoints():
                temperature = 0.8 if isinstance(student, Fcos) else 0.5
                weights = {"alpha": 1.6e-3, "beta": 8e-4, "gamma": 8e-4, "lambda_": 8e-6}
                return plain.model_copy(update={**weights, "temperature": temperature})
        return plain
