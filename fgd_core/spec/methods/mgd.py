"""Masked generative distillation."""

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import Field

from fgd_core.spec.detectors import AnyDetector, TwoStage
from fgd_core.spec.dimensions import LogUniform, Uniform
from fgd_core.spec.methods.base import Space, SumsOverCells

_AROUND = 30
"""The searched range of the weight, as a factor below and above its published value."""


class Mgd(SumsOverCells):
    """Masked generative distillation (arXiv:2205.01529): hides random cells of the student's map, and two trained
    convolutions generate the teacher's whole map from the rest. The defaults are the published values for one-stage
    detectors.

    Published for COCO, 2x, as teacher / student alone / distilled: RetinaNet X101 to R50 41.0 / 37.4 / 41.0; RepPoints
    X101 to R50 44.2 / 38.6 / 42.3. With a Cascade Mask R-CNN X101 as teacher, as student alone / distilled: Faster
    R-CNN R50 38.4 / 42.1.
    """

    weight_fields = {"alpha": "generation"}
    students_of_recipes = frozenset({"reppoints", "retinanet"})

    type: Literal["mgd"] = "mgd"
    alpha: float = Field(default=2e-5, ge=0)
    """Weight of the loss of each level. The loss is a sum over channels and cells, so the published weights suit images
    of 800x1333 pixels: 2e-5, and 5e-7 for two-stage students."""
    lambda_: float = Field(default=0.65, ge=0, lt=1)
    """Share of the cells that are hidden. Published: 0.65, and 0.45 for two-stage students."""

    @classmethod
    def spaces(cls, published: Self) -> Mapping[str, Space]:
        """Return the presets: the scale, or the weight and the share of hidden cells."""
        alpha = LogUniform(low=published.alpha / _AROUND, high=published.alpha * _AROUND)
        masking: Space = {"method.alpha": alpha, "method.lambda_": Uniform(low=0.1, high=0.9)}
        return {**super().spaces(published), "mgd-masking": masking}

    def published(self, student: AnyDetector, teacher: AnyDetector | None) -> Self:
        """Return the values of the authors' configurations for the student's kind of detector."""
        plain = super().published(student, teacher)
        return plain.model_copy(update={"alpha": 5e-7, "lambda_": 0.45}) if isinstance(student, TwoStage) else plain
