"""The search of settings with many trials of one job."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import Field, JsonValue, field_validator, model_validator

from fgd_core.spec.data import pictures_of
from fgd_core.spec.dimensions import Dimension
from fgd_core.spec.kinds.base import AnyJob
from fgd_core.spec.kinds.default_scale import found_beside_scale, with_searched_scale
from fgd_core.spec.kinds.distill import DistillSpec
from fgd_core.spec.kinds.teacher import teacher_detector
from fgd_core.spec.kinds.train import TrainSpec
from fgd_core.spec.methods import METHOD_TYPES, PRESETS, preset_space
from fgd_core.spec.paths import changed
from fgd_core.spec.search import Asha, HyperBand, Median, SchedulerSpec, SweepSettings

_OF_THE_SWEEP = ("project", "priority", "preemptible", "resources", "retry", "seed")
TrialBase: TypeAlias = Annotated[TrainSpec | DistillSpec, Field(discriminator="kind")]


class SweepSpec(AnyJob, SweepSettings):
    """Search the settings of a job with many trials of one base job.

    `resources` are those of each trial; `seed` is the seed of the first run of each configuration.
    """

    kind: Literal["sweep"] = "sweep"
    base: TrialBase
    """The job that each trial runs, with the values of the search space put in. Its name may be left out."""

    # A scale that finds itself would hide what the trials change in the weights.
    @field_validator("base", mode="before")
    @classmethod
    def _has_the_scale_of_a_search(cls, base: object) -> object:
        return with_searched_scale(base)

    @model_validator(mode="before")
    @classmethod
    def _complete_the_base(cls, data: Any) -> Any:
        """Give the base the sweep's name, and a base without a method the one that the preset searches."""
        if not isinstance(data, dict) or not isinstance(base := data.get("base"), dict):
            return data
        named = {"name": data["name"]} if "name" in data else {}
        space = data.get("space")
        searched = PRESETS.get(space) if isinstance(space, str) and "student" in base else None
        method = {"method": {"type": searched}} if searched is not None else {}
        return {**data, "base": {**named, **method, **base}}

    @model_validator(mode="after")
    def _is_given_once(self) -> Self:
        twice = sorted(self.base.model_fields_set & set(_OF_THE_SWEEP))
        defaults = type(self.base).model_fields
        given = [name for name in twice if getattr(self.base, name) != defaults[name].default]
        if given:
            raise ValueError(
                f"set {', '.join(given)} on the sweep and not in its base; the sweep's value holds for every trial"
            )
        return self

    def scheduler_with_rung(self) -> SchedulerSpec:
        """Return the scheduler with the epoch of its first rung as a number."""
        scheduler, training = self.scheduler, self.base.training
        if not isinstance(scheduler, Median | Asha | HyperBand):
            return scheduler
        first = scheduler.first_rung(training.epochs, every=training.evaluate_every)
        return scheduler.model_copy(update={"grace_epochs": first})

    def dimensions(self) -> dict[str, Dimension]:
        """Return the searched dimensions by field of the base; for a preset, its dimensions.

        Raises:
            KeyError: the base has no method, or the preset searches another one.
        """
        if isinstance(self.space, dict):
            return dict(self.space)
        if isinstance(self.base, TrainSpec):
            raise KeyError(self.space)
        teacher = teacher_detector(self.base.teacher)
        return preset_space(self.space, self.base.method, self.base.student, teacher, pictures_of(self.base.data))

    def trial(self, values: Mapping[str, JsonValue], *, seed: int, name: str | None = None) -> TrainSpec | DistillSpec:
        """Return the job of a trial; it could also be submitted by itself.

        Args:
            values: by field path; all other fields are as in the base.
        Raises:
            pydantic.ValidationError: the base does not accept these values.
        """
        spec = with_values(self.base, values)
        of_sweep = self.model_dump(mode="json", include=set(_OF_THE_SWEEP))
        return type(self.base).model_validate({**spec, **of_sweep, "seed": seed, "name": name or self.name})


def with_values(base: TrainSpec | DistillSpec, values: Mapping[str, JsonValue]) -> dict[str, Any]:
    """Return a job in JSON with fields set by path; the result is not validated.

    Another `method.type` brings the published values of that method, and the temperature that fits the teacher's
    features: weights of the base's method mean nothing to it.

    Raises:
        KeyError: a path leads through a field that does not exist.
    """
    kind = METHOD_TYPES.get(str(values.get("method.type")))
    if kind is not None and isinstance(base, DistillSpec) and not isinstance(base.method, kind):
        found = found_beside_scale(kind, base.student, base.input)
        method = kind().published(base.student, teacher_detector(base.teacher)).model_copy(update=found)
        base = base.model_copy(update={"method": method})
    return changed(base, values)


def published(base: TrainSpec | DistillSpec) -> dict[str, JsonValue]:
    """Return the published settings of the base's method for its pair; empty if the base has no method."""
    if isinstance(base, TrainSpec):
        return {}
    values: dict[str, JsonValue] = base.method.published(base.student, teacher_detector(base.teacher)).model_dump(
        mode="json"
    )
    return values
