"""Sweeps: the search space over the fields of a base job, and how it is searched."""

from collections.abc import Sequence
from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, Discriminator, Field, JsonValue, Tag, WithJsonSchema
from pydantic_core import PydanticKnownError

from fgd_core.spec.base import Command
from fgd_core.spec.dimensions import Dimension, FieldPath
from fgd_core.spec.methods import PRESETS

MAX_DIMENSIONS = 200
"""The largest number of dimensions of a search space."""


def _in_words(names: Sequence[str]) -> str:
    *most, last = map(repr, names)
    return f"{', '.join(most)} or {last}"


def _known_preset(name: str) -> str:
    if name not in PRESETS:
        raise PydanticKnownError("literal_error", {"expected": _in_words(list(PRESETS))})
    return name


PresetName: TypeAlias = Annotated[
    str, AfterValidator(_known_preset), WithJsonSchema({"type": "string", "enum": list(PRESETS)})
]


def _space_kind(value: object) -> str:
    return "preset" if isinstance(value, str) else "dimensions"


# The kind is decided here, so that a fault in a dimension is not followed by "this is no preset either".
SpaceSpec: TypeAlias = Annotated[
    Annotated[dict[FieldPath, Dimension], Field(max_length=MAX_DIMENSIONS), Tag("dimensions")]
    | Annotated[PresetName, Tag("preset")],
    Discriminator(_space_kind),
]


class Random(Command):
    """Random search: every trial is drawn independently. A baseline for the other searchers."""

    type: Literal["random"] = "random"


class Grid(Command):
    """Grid search: every combination, in order. Only for dimensions of the types `choice` and `integers`."""

    type: Literal["grid"] = "grid"


class QuasiRandom(Command):
    """A scrambled Sobol sequence: like random search, but without gaps and clusters."""

    type: Literal["quasi_random"] = "quasi_random"


class Tpe(Command):
    """Tree-structured Parzen estimator, the default: takes any space, and is useful from a few dozen trials on."""

    type: Literal["tpe"] = "tpe"
    startup_trials: int = Field(default=10, ge=1)
    """Number of random trials before the first trial that the model proposes."""


class GaussianProcess(Command):
    """Gaussian process: for few, expensive trials over up to about ten continuous dimensions."""

    type: Literal["gaussian_process"] = "gaussian_process"
    startup_trials: int = Field(default=10, ge=1)
    """Number of random trials before the first trial that the model proposes."""


class CmaEs(Command):
    """CMA-ES: for many cheap trials over continuous dimensions. Dimensions of the type `choice` are drawn at random."""

    type: Literal["cma_es"] = "cma_es"
    startup_trials: int = Field(default=1, ge=1)
    """Number of random trials before the first trial that the model proposes."""


class Nsga2(Command):
    """NSGA-II: an evolutionary search for the Pareto front of several objectives."""

    type: Literal["nsga2"] = "nsga2"
    population: int = Field(default=20, ge=2)
    """Trials in each generation."""


class TuneSearch(Command):
    """A searcher of Ray Tune, or another class with its interface. The server's setting FGD_TUNE_SEARCHERS lists the
    classes that it allows. A class that suggests other values when its calls are repeated is refused at the start."""

    type: Literal["tune"] = "tune"
    name: str = Field(min_length=1, max_length=200)
    """The class with its module, such as `ray.tune.search.hyperopt.HyperOptSearch`. Its package must be installed where
    the sweep runs."""
    settings: dict[str, JsonValue] = Field(default={}, max_length=50)
    """Keyword arguments of the class. Space, metric, direction and seed come from the sweep."""


SearcherSpec: TypeAlias = Annotated[
    Random | Grid | QuasiRandom | Tpe | GaussianProcess | CmaEs | Nsga2 | TuneSearch, Field(discriminator="type")
]


class RunAll(Command):
    """No scheduler: every trial trains to its end."""

    type: Literal["none"] = "none"


def third_of(epochs: int, *, every: int = 1) -> int:
    """Return the first evaluated epoch at or after a third of a training.

    Args:
        every: epochs between two evaluations.
    """
    third = -(-epochs // 3)
    return min(-(-third // every) * every, epochs)


class _WithGrace(Command):
    grace_epochs: int | None = Field(default=None, ge=1)
    """Epochs that every trial trains before the scheduler first decides; by default a third of the training. Earlier,
    the order of trials says little about their end: strong distillation starts slower."""

    def first_rung(self, epochs: int, *, every: int = 1) -> int:
        """Return the epoch of the first decision about a training of `epochs`; `every` as for `third_of`."""
        return self.grace_epochs or third_of(epochs, every=every)


class Median(_WithGrace):
    """Median rule: stops a trial whose best value so far is below the median of the other trials' running means at the
    same epoch."""

    type: Literal["median"] = "median"
    min_trials: int = Field(default=3, ge=1)
    """No trial is stopped before this number of other trials has reached the same epoch."""


class Asha(_WithGrace):
    """Asynchronous successive halving (arXiv:1810.05934): at each rung only the best fraction of trials continues."""

    type: Literal["asha"] = "asha"
    reduction: int = Field(default=3, ge=2)
    """At each rung one in `reduction` trials continues, and the next rung is at `reduction` times the epoch."""


class HyperBand(_WithGrace):
    """HyperBand (arXiv:1603.06560): successive halving with several first rungs. Trials pause at a rung until all
    trials of the bracket have reached it."""

    type: Literal["hyperband"] = "hyperband"
    reduction: int = Field(default=3, ge=2)
    """As in `asha`: at each rung one in `reduction` trials continues."""


class PopulationBased(Command):
    """Population-based training (arXiv:1711.09846): every few epochs the worst trials continue from checkpoints of the
    best trials, with perturbed values. Only fields of `method` can be searched."""

    type: Literal["population_based"] = "population_based"
    population: int = Field(default=4, ge=2)
    """Number of trials in the population."""
    every_epochs: int = Field(default=1, ge=1)
    """Epochs between two generations."""
    quantile: float = Field(default=0.25, gt=0, le=0.5)
    """Fraction of the population that is replaced in each generation; at least one trial."""
    perturb: float = Field(default=1.25, gt=1)
    """Perturbed values are multiplied or divided by this factor."""
    resample_probability: float = Field(default=0.25, ge=0, le=1)
    """Probability that a value is drawn again from the space in place of a perturbation."""


SchedulerSpec: TypeAlias = Annotated[RunAll | Median | Asha | HyperBand | PopulationBased, Field(discriminator="type")]


class Objective(Command):
    """A number that the sweep optimises."""

    metric: str = "ap"
    """`ap`, `ap50`, `ap75`, `ap_small`, `ap_medium`, `ap_large`, `ar1` … `ar_large`; `class:<name>` and
    `class50:<name>` for the AP and AP50 of one class; with a detector with masks also `mask_ap`, `mask_ap50`,
    `mask_ap75`, `mask_ap_small`, `mask_ap_medium`, `mask_ap_large`; with a detector with keypoints also `keypoint_ap`,
    `keypoint_ap50`, `keypoint_ap75`, `keypoint_ap_medium`, `keypoint_ap_large`; `images_per_s`, `num_parameters`."""
    direction: Literal["maximize", "minimize"] = "maximize"
    """Whether larger or smaller values are better."""


class NoClassLoses(Command):
    """No class and no size of objects may lose significantly against the student without distillation."""

    type: Literal["no_class_loses"] = "no_class_loses"
    """`no_class_loses`, the only constraint."""
    over: tuple[Literal["classes", "sizes"], ...] = Field(default=("classes", "sizes"), min_length=1)
    """What may not lose: the AP of each class, and the AP of small, medium and large objects. Classes with fewer than
    20 true boxes are not tested."""


class Budget(Command):
    """Limits of a sweep. The limit that is reached first ends the search; running trials continue to their next
    report."""

    trials: int = Field(default=20, ge=1, le=10_000)
    """Trials that the searcher proposes. Baselines and repeats are not counted."""
    epochs: int | None = Field(default=None, ge=1)
    """Epochs of all trials together."""
    gpu_hours: float | None = Field(default=None, gt=0)
    """GPU hours of all trials together."""
    wall_clock_s: float | None = Field(default=None, gt=0)
    """Seconds that the sweep itself runs, over all its attempts."""


class SweepSettings(Command):
    """How a sweep searches; `fgd_core.spec.kinds.sweep.SweepSpec` adds the settings of all jobs."""

    space: SpaceSpec
    """The search space: dimensions by field of the base job, or the name of a preset around the published values."""
    searcher: SearcherSpec = Tpe()
    """The algorithm that proposes the values of the next trial."""
    scheduler: SchedulerSpec = Asha()
    """The rule that stops trials that fall behind."""
    objectives: tuple[Objective, ...] = Field(default=(Objective(),), max_length=4)
    """What the sweep optimises. For each trial its best value counts, not its last. Several objectives need the
    scheduler `none`."""
    constraint: NoClassLoses | None = None
    """What a configuration must fulfil to be recommended. It is tested on the fresh seeds, so it needs `seeds` of at
    least 3, the baselines and one objective. The search itself is not restricted."""
    budget: Budget = Budget()
    """When the search ends."""
    seeds: int = Field(default=1, ge=1, le=20)
    """Runs of each repeated configuration and each baseline, all with different seeds. The run that chose a
    configuration does not count in the verdict. So 3 leave two fresh seeds, the minimum for measuring noise; 5 show
    most gains of two standard deviations."""
    finalists: int = Field(default=3, ge=1, le=20)
    """Number of best configurations that are repeated with other seeds, if `seeds` is above 1."""
    baselines: bool = True
    """Run two baselines as trials 0 and 1: no distillation (`method.scale` 0) and the default weights. They are never
    stopped early."""
    concurrent_trials: int = Field(default=1, ge=1, le=256)
    """Trials that run at once. Each takes the sweep's `resources`."""
    shared_teacher: Literal["auto", "off"] = "auto"
    """`auto`: trials on the same node compute the teacher's feature maps once and share them. `off`: each trial
    computes them itself. The results are bit-identical."""
    warm_start: tuple[str, ...] = Field(default=(), max_length=20)
    """Job ids of earlier sweeps. The searcher learns from their trials whose values are inside this space."""
    fork: str | None = None
    """Job id of an earlier sweep. Its trials whose values are inside this space count as trials of this sweep and are
    not run again."""
