"""Distillation on adversarial copies of the images, around another method."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field

from fgd_core.spec.data import PictureName
from fgd_core.spec.detectors import AnyDetector, TwoStage
from fgd_core.spec.methods.base import MethodPart, Normalise, SumsOverCells, Unmet, WeighedTerm, with_fixed_scale
from fgd_core.spec.methods.fgd import Fgd
from fgd_core.spec.methods.single import SingleMethod


class Ikd(SumsOverCells):
    """Instance knowledge distillation (arXiv:2209.09841): another method, and an imitation of the maps on an
    adversarial copy of each image. A job of kind `derive_data` makes the copies; `input.augment` has the method's
    augmentations. The default weight is the published one for one-stage detectors.

    Published for COCO as the gain over the same method alone: up to 1.0 AP with FGD and MGD. The figures of the single
    pairs are not known. The student runs twice in each step, the teacher too.
    """

    kept_by_baselines = ("picture", "until_epoch")

    type: Literal["ikd"] = "ikd"
    base: Annotated[SingleMethod, AfterValidator(with_fixed_scale)] = Fgd()
    """The method that compares student and teacher on the images themselves; its `scale` holds as well, and is a
    number."""
    alpha_adv: float = Field(default=1e-5, ge=0)
    """Weight of the squared differences on the adversarial copies. Published: 1e-5 for one-stage detectors and
    RepPoints, 2.5e-7 for two-stage detectors. Like FGD's weights, for networks at 800x1333 pixels."""
    normalise: Normalise = "none"
    """As in `fgd`, for the term of the adversarial copies; `base` has its own setting."""
    until_epoch: int | None = Field(default=16, ge=1)
    """Number of epochs with the copies; from then on only `base` is left. Published: 16 of 24. None: all epochs."""
    picture: PictureName = "adversarial"
    """The name of the copies in `data.pictures`."""

    @property
    def compares_stages(self) -> bool:
        """Whether the base compares the maps of the backbones."""
        return self.base.compares_stages

    @property
    def pictures(self) -> Mapping[str, int | None]:
        """The adversarial copies, if they have a weight."""
        return {self.picture: self.until_epoch} if self.alpha_adv else {}

    @property
    def weighs_nothing(self) -> bool:
        """Whether nothing is distilled."""
        return self.scale == 0 or (self.alpha_adv == 0 and self.base.weighs_nothing)

    def parts_for(self, student: AnyDetector) -> Iterator[MethodPart]:
        """Yield the base, and the imitation on the copies if it has a weight."""
        for part in self.base.parts_for(student):
            yield part._replace(scale=self.fixed_scale * part.scale, finds_scale=self.scale == "auto")
        if self.alpha_adv > 0:
            term = WeighedTerm("adversarial", "alpha_adv", self.alpha_adv)
            yield MethodPart(self.name(), "", self.fixed_scale, (term,), self.scale == "auto")

    def published(self, student: AnyDetector, teacher: AnyDetector | None) -> Self:
        """Return the published weight for the student's kind of detector, around the base's published values."""
        return (
            super()
            .published(student, teacher)
            .model_copy(
                update={
                    "base": self.base.published(student, teacher),
                    "alpha_adv": 2.5e-7 if isinstance(student, TwoStage) else 1e-5,
                }
            )
        )

    def unmet(self, student: AnyDetector, teacher: AnyDetector | None) -> Iterator[Unmet]:
        """Yield why this pair cannot be distilled with the base."""
        yield from self.base.unmet(student, teacher)

    def unmet_by_images(self, num_images: int) -> Iterator[Unmet]:
        """Yield why the base teaches nothing with so few images at a time."""
        yield from self.base.unmet_by_images(num_images)
