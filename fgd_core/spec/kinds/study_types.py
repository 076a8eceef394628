"""The questions that a study can answer: each plans arms of runs around one distillation, the base."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, NamedTuple, Self, TypeAlias

from pydantic import Field, JsonValue, model_validator

from fgd_core.spec.base import Command
from fgd_core.spec.evaluation import AlteredImages, Attributes, Contents
from fgd_core.spec.kinds.distill import DistillSpec
from fgd_core.spec.kinds.evaluate import EvaluateSpec
from fgd_core.spec.kinds.train import TrainSpec
from fgd_core.spec.paths import changed

StudyRunSpec: TypeAlias = TrainSpec | DistillSpec | EvaluateSpec
"""What a run of a study may be; each could also be submitted by itself."""
RunKind: TypeAlias = Literal["train", "distill", "evaluate"]
FieldPath: TypeAlias = Annotated[str, Field(min_length=1, max_length=100)]
Level: TypeAlias = Annotated[float, Field(gt=0)]
GainArm: TypeAlias = Literal["plain", "distilled", "inherited", "both"]


class Variant(NamedTuple):
    """How the runs of an arm differ from the base."""

    kind: RunKind
    """`train`: the student alone. `evaluate`: the teacher as it is; such an arm has one run."""
    values: Mapping[str, JsonValue] = {}
    """By field path of the base."""

    def run(self, base: DistillSpec, settings: Mapping[str, JsonValue]) -> StudyRunSpec:
        """Return a run of this arm.

        Args:
            settings: fields that the study sets for each of its runs, with `name` and `seed`.
        Raises:
            pydantic.ValidationError: the base does not accept the values.
        """
        varied = {**changed(base, self.values), **settings}
        distilled = DistillSpec.model_validate(varied)
        shared = {**{name: varied[name] for name in ("data", "input", "evaluation")}, **settings}
        match self.kind:
            case "distill":
                return distilled
            case "train":
                return TrainSpec.model_validate(
                    {**shared, "detector": varied["student"], "training": varied["training"]}
                )
            case "evaluate":
                teacher = distilled.teacher.model_dump(mode="json", include={"checkpoint", "detector", "classes"})
                # An evaluation runs in one process.
                resources = {**varied["resources"], "workers": 1, "min_workers": None}
                return EvaluateSpec.model_validate({**shared, **teacher, "resources": resources})


class AnyStudy(Command):
    """The settings that all studies have."""

    needed_arms: ClassVar[frozenset[str]] = frozenset({"plain"})
    """Without a run of each of these arms there is no answer."""

    num_seeds: int = Field(default=5, ge=1, le=100)
    """Runs of each arm, with the seeds `seed`, `seed + 1`, and so on. Two are needed for an interval; five find a gain
    of about twice the standard deviation of the runs."""

    def variants(self, base: DistillSpec) -> Mapping[str, Variant]:
        """Return the arms by name."""
        raise NotImplementedError


class OverSettings(AnyStudy):
    """A study that also runs the distilled student with other values of some settings."""

    over: dict[FieldPath, Annotated[tuple[Level, ...], Field(min_length=1, max_length=10)]] = Field(
        default={}, max_length=5
    )
    """Further values of fields of the base, by path: `{method.temperature: [1, 8], method.scale: [0.1, 0.4]}`. Each
    value is an arm of its own; with the value in the base, those of a field show a trend."""

    @model_validator(mode="before")
    @classmethod
    def _older_specs_named_one_setting(cls, given: object) -> object:
        """Read what stored studies name in `levels` and `temperatures`, the values of one setting."""
        if not isinstance(given, Mapping) or not isinstance(path := given.get("over", "method.temperature"), str):
            return given
        rest = {name: value for name, value in given.items() if name not in {"over", "levels", "temperatures"}}
        levels = given.get("levels") or given.get("temperatures")
        return rest | ({"over": {path: levels}} if levels else {})

    @model_validator(mode="after")
    def _settings_have_own_names(self) -> Self:
        names = [setting_name(path) for path in self.over]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"over names two fields that end in {twice}; keep one, and study the other by itself")
        return self

    def level_arms(self) -> Mapping[str, tuple[str, float]]:
        """Return (path, value) of each arm with another value of a setting."""
        return {self.level_arm(path, level): (path, level) for path, levels in self.over.items() for level in levels}

    @staticmethod
    def level_arm(path: str, level: float) -> str:
        """Return the name of the arm with a value of a setting."""
        return f"{setting_name(path)} {level:g}"


def setting_name(path: str) -> str:
    """Return how a study names a field of its base: by the last part of the path."""
    return path.rpartition(".")[2]


class GainStudy(AnyStudy):
    """What do distillation and inherited weights bring, each alone and both together?"""

    type: Literal["gain"] = "gain"
    """The question."""
    arms: tuple[GainArm, ...] | None = Field(default=None, min_length=2)
    """`plain`: the student alone. `distilled`: with the teacher's loss, from its own initial weights. `inherited`: with
    the teacher's weights that `base.inherit` names, without its loss. `both`. Default: all that differ; without
    inheritance, `plain` and `distilled`."""
    smallest_gain: float = Field(default=0.01, gt=0, le=1)
    """The smallest difference of AP that matters to you. The report says how surely so many seeds find it."""

    def variants(self, base: DistillSpec) -> Mapping[str, Variant]:
        """Return the arms that differ, or those that the study names."""
        known: Mapping[GainArm, Variant] = {
            "plain": Variant("train"),
            "distilled": Variant("distill", {"inherit": "nothing"}),
            "inherited": Variant("distill", {"method.scale": 0.0, "method.scale_schedule": None}),
            "both": Variant("distill"),
        }
        differing: tuple[GainArm, ...] = ("plain", "distilled") if base.inherit == "nothing" else (*known,)
        return {arm: known[arm] for arm in self.arms or differing}


class StudiedGroup(Command):
    """A slice of the validation split: the objects of some classes, or those in some images, or both."""

    classes: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Names of classes. None: all."""
    image_ids: tuple[int, ...] | None = Field(default=None, min_length=1)
    """Ids of images, as in COCO annotations: for example those taken at night. None: all."""

    @model_validator(mode="after")
    def _selects_something(self) -> Self:
        if self.classes is None and self.image_ids is None:
            raise ValueError("a group of all objects cannot be compared; set classes or image_ids")
        return self


SIZE = "size"
"""The name of the set of groups that each such study compares."""
GroupName: TypeAlias = Annotated[str, Field(min_length=1, max_length=40)]


class LeftOverStudy(OverSettings):
    """Whom does distilling hurt: which classes lose AP, which groups are treated less alike, and what of the teacher's
    strengths and weaknesses is left in the student?

    Source: arXiv:2410.08407.
    """

    needed_arms: ClassVar[frozenset[str]] = frozenset({"plain", "distilled", "teacher"})

    type: Literal["left_over"] = "left_over"
    groups: dict[GroupName, dict[GroupName, StudiedGroup]] = Field(default={}, max_length=10)
    """Sets of groups that should be treated alike, in addition to the sizes, which are always compared: for example
    `{light: {day: {image_ids: [1, 2]}, night: {image_ids: [3, 4]}}}`."""
    attributes: Attributes = {}
    """Further sets of groups, by an attribute of the images: `{weather: {}}` compares the images of each weather that
    the key `weather` of COCO's `images` names, and `{brightness: {edges: [0.3]}}` the darker with the brighter ones.
    See `evaluation.attributes`."""
    altered: AlteredImages | None = None
    """Also asks whether single objects are treated alike: how often an object is found in an image and not in a mildly
    altered copy, or the other way round. Each copy costs each run one more evaluation."""

    @model_validator(mode="after")
    def _sets_have_own_names(self) -> Self:
        twice = sorted({*self.groups} & {*self.attributes} | {SIZE} & {*self.groups, *self.attributes})
        if twice:
            raise ValueError(
                f"{', '.join(twice)} names two sets of groups ({SIZE} always compares the sizes of objects); rename one"
            )
        return self

    def variants(self, base: DistillSpec) -> Mapping[str, Variant]:
        """Return the plain and the distilled student, the teacher, and an arm for each level."""
        named = self.model_dump(mode="json", include={"altered", "attributes"})
        measured = {f"evaluation.{name}": value for name, value in named.items() if value}
        if self.groups:
            measured["evaluation.expected"] = self._studied().model_dump(mode="json")
        kinds: Mapping[str, RunKind] = {"plain": "train", "distilled": "distill", "teacher": "evaluate"}
        arms = {name: Variant(kind, measured) for name, kind in kinds.items()}
        for name, (path, level) in self.level_arms().items():
            arms[name] = Variant("distill", {**measured, path: level})
        return arms

    def _studied(self) -> Contents:
        groups = [group for groups in self.groups.values() for group in groups.values()]
        return Contents(
            classes=tuple(dict.fromkeys(name for each in groups for name in each.classes or ())),
            image_ids=tuple(dict.fromkeys(image_id for each in groups for image_id in each.image_ids or ())),
        )


class WhyStudy(OverSettings):
    """On what does the gain depend: on the teacher and how well its scores are calibrated, on the number of training
    images, on other settings such as the temperature, or on chance?

    Source: arXiv:2005.10419.
    """

    needed_arms: ClassVar[frozenset[str]] = frozenset({"plain", "distilled", "teacher"})

    type: Literal["why"] = "why"
    teachers: tuple[Annotated[str, Field(min_length=1, max_length=1000)], ...] = Field(default=(), max_length=20)
    """Checkpoints of further teachers, as in `base.teacher.checkpoint`; a file must be one of fgd. Each has two arms:
    an evaluation, and the student that it taught. Five in all are needed to say whether better teachers bring more."""
    fractions: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(default=(), max_length=10)
    """Further values of `base.input.sampling.fraction`: the share of the training images. Each has two arms."""

    @model_validator(mode="after")
    def _plain_runs_stay(self) -> Self:
        other = next((path for path in self.over if not path.startswith("method.")), None)
        if other is not None:
            raise ValueError(
                f"over names {other}, which may change the plain student, too, and the gain is measured against the "
                "plain one of the base; name fields of the method, for example method.temperature"
            )
        return self

    def variants(self, base: DistillSpec) -> Mapping[str, Variant]:
        """Return the plain and the distilled student and the teacher, and the arms of each further setting."""
        arms = {"plain": Variant("train"), "distilled": Variant("distill"), "teacher": Variant("evaluate")}
        for fraction in self.fractions:
            share = {"input.sampling.fraction": fraction}
            arms[self.plain_at(fraction)] = Variant("train", share)
            arms[self.distilled_at(fraction)] = Variant("distill", share)
        for place, checkpoint in enumerate(self.teachers):
            # What the base says about its own teacher's file does not hold for another one.
            unset = dict.fromkeys(("teacher.detector", "teacher.classes", "teacher.expected_ap"))
            other: Mapping[str, JsonValue] = {**unset, "teacher.checkpoint": checkpoint}
            arms[self.taught_by(place)] = Variant("distill", other)
            arms[self.teacher_arm(place)] = Variant("evaluate", other)
        for name, (path, level) in self.level_arms().items():
            arms[name] = Variant("distill", {path: level})
        return arms

    def plain_at(self, fraction: float) -> str:
        """Return the name of the arm of the plain student with a share of the images."""
        return f"plain at {fraction:g}"

    def distilled_at(self, fraction: float) -> str:
        """Return the name of the arm of the distilled student with a share of the images."""
        return f"distilled at {fraction:g}"

    def teacher_arm(self, place: int) -> str:
        """Return the name of the arm that evaluates a further teacher, by its place in `teachers`."""
        return f"teacher {place + 2}"

    def taught_by(self, place: int) -> str:
        """Return the name of the arm of the student of a further teacher, by its place in `teachers`."""
        return f"distilled by {self.teacher_arm(place)}"


StudyType: TypeAlias = Annotated[GainStudy | LeftOverStudy | WhyStudy, Field(discriminator="type")]
