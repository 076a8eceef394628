"""Sweeps: a base job, a space over its fields, and how it is searched."""

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Discriminator, Field, JsonValue, Tag

from fgd_core.spec.base import Command

MAX_DIMENSIONS = 200
"""Of a space."""
_LARGEST = 2**53
"""Up to which every whole number is a float as well."""

FieldPath: TypeAlias = Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)*$", max_length=200)]
"""A field of the base job, for example `method.alpha` or `training.optimizer.learning_rate`."""


class Condition(Command):
    """The dimension is searched only where another one has one of these values."""

    field: FieldPath
    """The other one."""
    is_in: tuple[JsonValue, ...] = Field(min_length=1)
    """Its values that will do."""


class _Dimension(Command):
    when: Condition | None = None
    """Leaves the field as it is in the base unless this holds."""


class Uniform(_Dimension):
    """Every number between two is equally likely."""

    type: Literal["uniform"] = "uniform"
    low: float
    """The lower end."""
    high: float
    """The upper end."""


class LogUniform(_Dimension):
    """Uniform in the logarithm: for weights and rates whose order of magnitude is unknown."""

    type: Literal["log_uniform"] = "log_uniform"
    low: float
    """The lower end, above zero."""
    high: float
    """The upper end."""


class Integers(_Dimension):
    """Every whole number between two is equally likely."""

    type: Literal["integers"] = "integers"
    low: int = Field(ge=-_LARGEST, le=_LARGEST)
    """Is in it."""
    high: int = Field(ge=-_LARGEST, le=_LARGEST)
    """Is in it."""
    log: bool = False
    """Whether uniform in the logarithm."""


class Choice(_Dimension):
    """One of some values that have no order."""

    type: Literal["choice"] = "choice"
    values: tuple[JsonValue, ...]
    """What is chosen from."""


Dimension: TypeAlias = Annotated[Uniform | LogUniform | Integers | Choice, Field(discriminator="type")]
PresetName: TypeAlias = Literal["fgd-weights", "fgd-scale", "fgd-temperature"]


def _space_kind(value: object) -> str:
    return "ready" if isinstance(value, str) else "dimensions"


# Told apart by hand, so that a fault in a dimension is not followed by "this is no ready space either".
SpaceSpec: TypeAlias = Annotated[
    Annotated[dict[FieldPath, Dimension], Field(max_length=MAX_DIMENSIONS), Tag("dimensions")]
    | Annotated[PresetName, Tag("ready")],
    Discriminator(_space_kind),
]


class Random(Command):
    """Every trial is drawn by itself: the yardstick of the others."""

    type: Literal["random"] = "random"


class Grid(Command):
    """Every combination, in order; of choices and integers only."""

    type: Literal["grid"] = "grid"


class QuasiRandom(Command):
    """A scrambled Sobol sequence: as random, but without holes and clusters."""

    type: Literal["quasi_random"] = "quasi_random"


class Tpe(Command):
    """Tree-structured Parzen estimator: the default; takes any space, and a few dozen trials pay off."""

    type: Literal["tpe"] = "tpe"
    startup_trials: int = Field(default=10, ge=1)
    """Drawn at random before the model is asked."""


class GaussianProcess(Command):
    """For few and costly trials over up to some ten continuous dimensions."""

    type: Literal["gaussian_process"] = "gaussian_process"
    startup_trials: int = Field(default=10, ge=1)
    """Drawn at random before the model is asked."""


class CmaEs(Command):
    """For many cheap trials over continuous dimensions; choices are drawn at random beside it."""

    type: Literal["cma_es"] = "cma_es"
    startup_trials: int = Field(default=1, ge=1)
    """Drawn at random before the model is asked."""


class Nsga2(Command):
    """Evolution towards a Pareto front, for several objectives."""

    type: Literal["nsga2"] = "nsga2"
    population: int = Field(default=20, ge=2)
    """Trials of a generation."""


SearcherSpec: TypeAlias = Annotated[
    Random | Grid | QuasiRandom | Tpe | GaussianProcess | CmaEs | Nsga2, Field(discriminator="type")
]


class RunAll(Command):
    """Every trial trains to its end."""

    type: Literal["none"] = "none"


class Median(Command):
    """Stop a trial whose best so far is below the median of the others' means at the same epoch."""

    type: Literal["median"] = "median"
    grace_epochs: int = Field(default=1, ge=1)
    """No trial is stopped before."""
    min_trials: int = Field(default=3, ge=1)
    """So many others must have come as far."""


class Asha(Command):
    """Asynchronous successive halving (arXiv:1810.05934): at each rung only the best part goes on."""

    type: Literal["asha"] = "asha"
    grace_epochs: int = Field(default=1, ge=1)
    """The first rung."""
    reduction: int = Field(default=3, ge=2)
    """One in so many goes on from each rung, and the next rung comes so many times later."""


class HyperBand(Command):
    """Successive halving from several first rungs (arXiv:1603.06560); waits at each rung until all have come."""

    type: Literal["hyperband"] = "hyperband"
    grace_epochs: int = Field(default=1, ge=1)
    """The earliest first rung."""
    reduction: int = Field(default=3, ge=2)
    """As of `asha`."""


class PopulationBased(Command):
    """Population-based training (arXiv:1711.09846): every few epochs the worst go on from the best's checkpoints, with
    perturbed values. Only fields of `method` may change in flight."""

    type: Literal["population_based"] = "population_based"
    population: int = Field(default=4, ge=2)
    """Trials that train side by side, generation by generation."""
    every_epochs: int = Field(default=1, ge=1)
    """Between two generations."""
    quantile: float = Field(default=0.25, gt=0, le=0.5)
    """This part of the population is replaced each time, at least one."""
    perturb: float = Field(default=1.25, gt=1)
    """A value is multiplied or divided by it."""
    resample_probability: float = Field(default=0.25, ge=0, le=1)
    """Draw a value afresh instead."""


SchedulerSpec: TypeAlias = Annotated[RunAll | Median | Asha | HyperBand | PopulationBased, Field(discriminator="type")]


class Objective(Command):
    metric: str = "ap"
    """`ap`, `ap50`, `ap75`, `ap_small`, `ap_medium`, `ap_large`, `ar1` … `ar_large`; `class:<name>` and
    `class50:<name>` for one class; of a detector with masks `mask_ap`, `mask_ap50`, `mask_ap75`, `mask_ap_small`,
    `mask_ap_medium`, `mask_ap_large`; `images_per_s`, `num_parameters`."""
    direction: Literal["maximize", "minimize"] = "maximize"
    """Whether more of it is better."""


class Budget(Command):
    """Whatever runs out first ends the search; trials that run then are trained to their next report."""

    trials: int = Field(default=20, ge=1, le=10_000)
    """That the searcher proposes; baselines and repetitions come on top."""
    epochs: int | None = Field(default=None, ge=1)
    """Over all trials."""
    gpu_hours: float | None = Field(default=None, gt=0)
    """Over all trials."""
    wall_clock_s: float | None = Field(default=None, gt=0)
    """Of the sweep's own running time, over all attempts."""


class SweepSettings(Command):
    """How a sweep searches; `fgd_core.spec.jobs.SweepSpec` joins it to what every job says."""

    space: SpaceSpec
    """What is searched: dimensions by field of the base, or a ready space around the published values."""
    searcher: SearcherSpec = Tpe()
    """What proposes the values of the next trial."""
    scheduler: SchedulerSpec = Asha()
    """What stops trials that fall behind."""
    objectives: tuple[Objective, ...] = Field(default=(Objective(),), max_length=4)
    """The best value that a trial reached counts, not its last. More than one needs scheduler `none`."""
    budget: Budget = Budget()
    seeds: int = Field(default=1, ge=1, le=20)
    """Trainings of each finalist and baseline with different seeds. The first one of a finalist chooses it and does not
    count in the verdict: 3 leave two fresh seeds, the fewest that show noise, and 5 show most gains of two standard
    deviations."""
    finalists: int = Field(default=3, ge=1, le=20)
    """The best so many are repeated where `seeds` is above 1."""
    baselines: bool = True
    """Run the plain student (`method.scale` 0) and the published weights as trials 0 and 1; never stopped early."""
    concurrent_trials: int = Field(default=1, ge=1, le=256)
    """Each takes the sweep's `resources`."""
    shared_teacher: Literal["auto", "off"] = "auto"
    """Trials on one node compute the teacher's maps once for all of them; off: each for itself. Bit-identical."""
    warm_start: tuple[str, ...] = Field(default=(), max_length=20)
    """Job ids of earlier sweeps whose trials the searcher learns from, where their values lie in this space."""
    fork: str | None = None
    """Job id of a sweep whose trials count as this one's where their values lie in this space; nothing is run again."""


def preset_space(name: PresetName, method: dict[str, Any]) -> dict[str, Dimension]:
    """The dimensions of a ready space.

    Args:
        method: the published values of the pair's detector, by field name.
    """
    weights = {f"method.{name}": _around(method[name], 30) for name in ("alpha", "beta", "gamma", "lambda_")}
    spaces: dict[PresetName, dict[str, Dimension]] = {
        "fgd-weights": {**weights, "method.temperature": _TEMPERATURE},
        "fgd-scale": {"method.scale": LogUniform(low=0.001, high=10)},
        "fgd-temperature": {"method.temperature": _TEMPERATURE},
    }
    return spaces[name]


_TEMPERATURE = LogUniform(low=0.1, high=10)


def _around(value: float, factor: float) -> LogUniform:
    return LogUniform(low=value / factor, high=value * factor)
