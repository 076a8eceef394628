"""A question that one run cannot answer: a set of runs, and a report that answers it."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple, Self

from pydantic import model_validator

from fgd_core.spec.kinds.base import AnyJob
from fgd_core.spec.kinds.distill import DistillSpec
from fgd_core.spec.kinds.study_types import StudyRunSpec, StudyType, Variant

_OF_THE_STUDY = ("project", "priority", "preemptible", "resources", "retry", "seed")


class PlannedRun(NamedTuple):
    """A run of a study."""

    arm: str
    """The runs of an arm differ only in the seed."""
    spec: StudyRunSpec


class StudySpec(AnyJob):
    """Answer a question about a distillation with many runs: does it help, whom does it hurt, and why.

    The server submits each run as a job of its own. The study waits until all of them have ended, and then reports
    the answer. `resources` and `retry` are those of each run; `seed` is the first seed.
    """

    kind: Literal["study"] = "study"
    base: DistillSpec
    """The distillation in question. Its name may be left out."""
    study: StudyType
    """The question, and how many runs answer it."""

    @model_validator(mode="before")
    @classmethod
    def _name_the_base(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("base"), dict) and "name" in data:
            return {**data, "base": {"kind": "distill", "name": data["name"], **data["base"]}}
        return data

    @model_validator(mode="after")
    def _is_given_once(self) -> Self:
        defaults = DistillSpec.model_fields
        twice = [name for name in _OF_THE_STUDY if getattr(self.base, name) != defaults[name].default]
        if twice:
            raise ValueError(f"set {', '.join(twice)} on the study and not in its base; it holds for every run")
        return self

    def variants(self) -> Mapping[str, Variant]:
        """Return how each arm differs from the base."""
        return self.study.variants(self.base)

    def arm(self, name: str) -> StudyRunSpec:
        """Return the first run of an arm.

        Raises:
            pydantic.ValidationError: the base does not accept the values of the arm.
        """
        return self._run(name, self.variants()[name], self.seed)

    def runs(self) -> Iterator[PlannedRun]:
        """Yield all runs, seed by seed, so that the first seeds of all arms run first."""
        for seed in range(self.seed, self.seed + self.study.num_seeds):
            for arm, variant in self.variants().items():
                if seed == self.seed or variant.kind != "evaluate":
                    yield PlannedRun(arm, self._run(arm, variant, seed))

    def place(self, loc: str) -> str:
        """Return where the study sets the field `loc` of a run."""
        first, _, rest = loc.partition(".")
        if first in (*_OF_THE_STUDY, "name"):
            return loc
        return ".".join(filter(None, ("base", {"detector": "student"}.get(first, first), rest)))

    def _run(self, arm: str, variant: Variant, seed: int) -> StudyRunSpec:
        of_study = self.model_dump(mode="json", include=set(_OF_THE_STUDY))
        return variant.run(self.base, {**of_study, "seed": seed, "name": f"{self.name[:60]} - {arm} {seed}"})
