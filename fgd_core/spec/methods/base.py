"""What all distillation methods have in common: a scale, published values, search spaces, and what they need."""

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal, NamedTuple, Self, TypeAlias

from pydantic import Field, model_validator

from fgd_core.spec.base import Command
from fgd_core.spec.detectors import AnyDetector, Capability
from fgd_core.spec.dimensions import Dimension, LogUniform

Space: TypeAlias = Mapping[str, Dimension]
"""The dimensions of a search space, by field of the base job."""


class Unmet(NamedTuple):
    """Something that a method needs and a pair of detectors has not got."""

    loc: str
    """The field of the distill job that has to change, for example `teacher.detector`."""
    message: str


class WeighedTerm(NamedTuple):
    """A term of a loss that has a weight above 0."""

    name: str
    """As in curves, for example `near_objects`."""
    field: str
    """The field of the method that is the weight."""
    weight: float

    @property
    def in_words(self) -> str:
        """The term, its weight and the field of the weight: `attention 0.0005 (gamma)`."""
        source = "" if self.field in (self.name, "weight") else f" ({self.field})"
        return f"{self.name.replace('_', ' ')} {self.weight:g}{source}"


class MethodPart(NamedTuple):
    """A method as a table shows it; one that is built of others has several parts."""

    title: str
    """For example `fgd`, or `focal (fgd)` in a mixture."""
    prefix: str
    """What the names of its terms and places begin with in curves: `focal/`, or nothing."""
    scale: float
    """The product of all scales that act on it, without one that is found in the first steps."""
    terms: tuple[WeighedTerm, ...]
    finds_scale: bool = False
    """Whether one more factor is found in the first steps."""

    @property
    def scale_in_words(self) -> str:
        """The scale as a table shows it, for example `0.2` or `auto`."""
        if not self.finds_scale:
            return f"{self.scale:g}"
        return "auto" if self.scale == 1 else f"auto x {self.scale:g}"

    @property
    def terms_in_words(self) -> str:
        """The terms with their weights; `nothing` if the scale or all weights are 0."""
        return ", ".join(term.in_words for term in self.terms if self.scale) or "nothing"


Scale: TypeAlias = Annotated[float, Field(ge=0)] | Literal["auto"]


class ScaleSchedule(Command):
    """Changes the `scale` of a method in the course of the training: warm-up, decay, stop."""

    warmup_epochs: float = Field(default=0, ge=0)
    """Epochs in which the scale rises linearly from 0."""
    decay: Literal["none", "linear", "cosine"] = "none"
    """How the scale falls to 0 after the warm-up: not at all, linearly, or along half a cosine."""
    until_epoch: int | None = Field(default=None, ge=1)
    """Epochs with distillation: `decay` ends here, and from here on the teacher does not run. None: all epochs."""

    @model_validator(mode="after")
    def _warms_up_before_the_end(self) -> Self:
        if self.until_epoch is not None and self.warmup_epochs >= self.until_epoch:
            raise ValueError(
                f"the scale warms up for {self.warmup_epochs:g} epochs and distillation ends after {self.until_epoch}; "
                "lower warmup_epochs, or raise until_epoch"
            )
        return self


class AnyMethod(Command):
    """The settings that all methods have, and what a method says of itself.

    A subclass adds `type` and its weights. Nothing outside the files of a method knows its name: baselines, recipes,
    presets and admission ask the method.
    """

    student_needs: ClassVar[frozenset[Capability]] = frozenset()
    """What the student must offer besides its feature maps."""
    teacher_needs: ClassVar[frozenset[Capability]] = frozenset()
    weight_fields: ClassVar[Mapping[str, str]] = {}
    """The fields that weigh the terms of the loss, and the term that each weighs. If all are 0, nothing is
    distilled."""
    students_of_recipes: ClassVar[frozenset[str]] = frozenset()
    """The detectors that learn in the method's recipes; all are ResNets of full size on images of 800x1333 pixels. A
    test compares them with the recipes."""
    without_recipe: ClassVar[Mapping[str, str]] = {"scale": "auto"}
    """What holds for other students where a spec names nothing: published values suit the features of their recipe."""
    searched_scale: ClassVar[float | Literal["auto"]] = 1.0
    """What holds in a sweep that names no scale; `auto` if trials differ in more than their weights."""
    kept_by_baselines: ClassVar[tuple[str, ...]] = ()
    """Fields that are no weights: the baseline with published values keeps the base's value."""

    scale: Scale = 1.0
    """A common factor on all weights of the method. 0 trains without distillation. `auto`: found in the first steps, so
    that the distillation loss is twice the task loss. If a spec names no scale, it is `auto`, unless the method,
    student and input size are those of a recipe (`fgd recipes`), for which the published weights hold; in a sweep it is
    1, or `auto` for `composed`."""
    scale_schedule: ScaleSchedule | None = None
    """How the scale changes in the course of the training. None: it is constant."""

    @property
    def fixed_scale(self) -> float:
        """The scale, or 1 if it is found in the first steps."""
        return 1.0 if self.scale == "auto" else self.scale

    @property
    def compares_stages(self) -> bool:
        """Whether it compares the maps of the backbones."""
        return False

    @property
    def pictures(self) -> Mapping[str, int | None]:
        """The other pictures of the images that it compares, by name: in how many epochs; None: in all."""
        return {}

    @property
    def weighs_nothing(self) -> bool:
        """Whether nothing is distilled, as in the baseline without distillation of a sweep."""
        weights = [getattr(self, name) for name in self.weight_fields]
        return self.scale == 0 or (bool(weights) and not any(weights))

    @classmethod
    def spaces(cls, published: Self) -> Mapping[str, Space]:
        """Return the ready search spaces by the name of their preset, around published values."""
        return {f"{cls.name()}-scale": {"method.scale": LogUniform(low=0.001, high=10)}}

    @classmethod
    def name(cls) -> str:
        """Return the `type` that selects the method in a spec."""
        return str(cls.model_fields["type"].default)

    def published(self, student: AnyDetector, teacher: AnyDetector | None) -> Self:
        """Return the method with its published values for a pair of detectors.

        Args:
            teacher: None if the spec does not say which detector the teacher's checkpoint holds.
        """
        return type(self)(**{name: getattr(self, name) for name in self.kept_by_baselines})

    def parts_for(self, student: AnyDetector) -> Iterator[MethodPart]:
        """Yield the methods that act on a student, each with its scale: itself, unless it is built of others."""
        yield MethodPart(self.name(), "", self.fixed_scale, tuple(self.terms_for(student)), self.scale == "auto")

    def terms_for(self, student: AnyDetector) -> Iterator[WeighedTerm]:
        """Yield the terms that have a weight, as far as they apply to a student."""
        for field, term in self.weight_fields.items():
            weight = getattr(self, field)
            if weight > 0:
                yield WeighedTerm(term, field, weight)

    def unmet(self, student: AnyDetector, teacher: AnyDetector | None) -> Iterator[Unmet]:
        """Yield why this pair cannot be distilled with the method.

        Args:
            teacher: None if it is not known yet; then only the student is checked.
        """
        yield from lacking(self, "student", student, self.student_needs)
        if teacher is not None:
            yield from lacking(self, "teacher", teacher, self.teacher_needs)

    def unmet_by_images(self, num_images: int) -> Iterator[Unmet]:
        """Yield why the method teaches nothing if a worker passes only so many images through the networks at a time.

        Every method learns from one image, unless it compares images with each other.
        """
        yield from ()


def with_fixed_scale(part: AnyMethod) -> AnyMethod:
    """Return a method that is a part of another one.

    Raises:
        ValueError: its scale is `auto`.
    """
    if part.scale == "auto":
        raise ValueError(
            f"the scale of {part.name()} is auto, but it is a part of another method; give the part a number, and the "
            "whole method `scale: auto`"
        )
    return part


Normalise: TypeAlias = Literal["none", "hw"]
PUBLISHED_PX2 = 800 * 1333
"""The area of an image of the published size, in pixels."""


class SumsOverCells(AnyMethod):
    """The settings of methods with terms that are sums over the cells of a map, and so grow with the images."""

    normalise: Normalise = "none"
    """`hw`: the terms that are sums over cells become means over the cells of the padded batch, times the cells of an
    image of 800x1333 pixels at the same stride. Published weights then hold at other image sizes. `none`: sums, as
    published."""

    def cell_factor(self, input_size: tuple[int, int]) -> float:
        """Return the factor on sums over cells of images of (height, width) in pixels, padded."""
        return 1.0 if self.normalise == "none" else PUBLISHED_PX2 / (input_size[0] * input_size[1])


_IN_WORDS: Mapping[Capability, str] = {
    "class_scores": "class scores at every location",
    "distributions": "distributions of box sides (gfl has them)",
    "towers": "head towers that can be cut in two (retinanet, fcos and gfl have them)",
    "regions": "region heads (two-stage detectors have them)",
}


def lacking(method: AnyMethod, loc: str, detector: AnyDetector, needs: frozenset[Capability]) -> Iterator[Unmet]:
    """Yield what a detector does not offer.

    Args:
        loc: the field of the detector, `student` or `teacher`.
    """
    for missing in sorted(needs - detector.offers):
        yield Unmet(
            loc,
            f"method {method.name()} compares {_IN_WORDS[missing]}, and the {loc} {detector.name()} has none; "
            "choose another method, or another detector",
        )
