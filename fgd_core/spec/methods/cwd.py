"""Channel-wise distillation."""

from collections.abc import Iterator, Mapping
from typing import Literal, Self

from pydantic import Field

from fgd_core.spec.detectors import AnyDetector, TwoStage
from fgd_core.spec.dimensions import LogUniform
from fgd_core.spec.methods.base import AnyMethod, Space, Unmet
from fgd_core.spec.methods.same_head import differences


class Cwd(AnyMethod):
    """Channel-wise distillation (arXiv:2011.13256): each channel of a map becomes a distribution over its cells, and
    the student imitates where each channel of the teacher is large. The defaults are the authors' values for one-stage
    detectors.

    Published for COCO, as teacher / student alone / distilled: RetinaNet X101 to R50, 2x, 40.8 / 37.4 / 40.5; on class
    logits, GFL R101 to R50, 1x, 44.7 / 40.2 / 41.9.
    """

    weight_fields = {"weight": "channels"}
    students_of_recipes = frozenset({"retinanet"})
    kept_by_baselines = ("on",)

    type: Literal["cwd"] = "cwd"
    on: Literal["features", "logits"] = "features"
    """What is compared: the maps of the pyramid, or the class logits of the heads as maps, which needs two detectors of
    one kind without regions."""
    weight: float = Field(default=5.0, ge=0)
    """Weight of the loss of each level. Published: 5, and 10 in mmrazor's configurations for Faster R-CNN and for class
    logits."""
    temperature: float = Field(default=1.0, gt=0)
    """Temperature of the distributions over cells: a low one compares only the largest values. Published: 1."""
    levels: int | None = Field(default=4, ge=1)
    """Number of levels that are compared, from the finest on. Published: 4; None: all, as for Faster R-CNN
    and for class logits."""
    derived: bool = False
    """Also compare levels that only subsample another level, such as the pooled P6 of two-stage detectors. mmrazor's
    configuration for Faster R-CNN does."""

    @classmethod
    def spaces(cls, published: Self) -> Mapping[str, Space]:
        """Return the presets: the scale, or the scale and the temperature."""
        scale = super().spaces(published)
        temperature = {"method.temperature": LogUniform(low=0.25, high=16)}
        return {**scale, "cwd-temperature": {**scale["cwd-scale"], **temperature}}

    def published(self, student: AnyDetector, teacher: AnyDetector | None) -> Self:
        """Return the published values for the student's kind of detector."""
        plain = super().published(student, teacher)
        if self.on == "logits":
            return plain.model_copy(update={"weight": 10.0, "levels": None})
        if isinstance(student, TwoStage):
            return plain.model_copy(update={"weight": 10.0, "levels": None, "derived": True})
        return plain

    def unmet(self, student: AnyDetector, teacher: AnyDetector | None) -> Iterator[Unmet]:
        """Yield why this pair cannot be distilled: class logits that a detector has not got, or of another kind."""
        yield from super().unmet(student, teacher)
        if self.on == "logits":
            if "class_scores" not in student.offers:
                yield Unmet("method.on", f"{student.name()} has no class scores at every location; set it to features")
            yield from differences(self, student, teacher)
