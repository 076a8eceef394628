"""Decides whether a sweep is accepted: whether each part is sound, and whether the parts fit together."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue

from fgd_core.spec.data import SHAPE_NAMES, Shapes, files_of
from fgd_core.spec.detectors import DetectorSpec
from fgd_core.spec.dimensions import Choice, Dimension, Integers
from fgd_core.spec.kinds.sweep import SweepSpec
from fgd_core.spec.kinds.train import TrainSpec
from fgd_core.spec.paths import SpecData
from fgd_core.spec.refusals import closest
from fgd_core.spec.results import PART_METRICS, PART_NAMES, Part, Scores
from fgd_core.spec.search import (
    CmaEs,
    GaussianProcess,
    Grid,
    PopulationBased,
    QuasiRandom,
    RunAll,
    TuneSearch,
)
from fgd_core.spec.views import ProblemReason
from service.jobs import sweep_space
from service.jobs.images_admission import smallest_batch_reasons
from service.jobs.sweep_space import TrialRules

MAX_GRID = 10_000
LEAST_SEEDS_OF_A_CONSTRAINT = 3

_OF_RESULT = ("images_per_s", "num_parameters")
_METRICS = [
    *(name for name in Scores.model_fields if name not in ("per_class", *PART_NAMES)),
    *PART_METRICS,
    *_OF_RESULT,
]
_OF_CLASS = ("class", "class50")


@dataclass(frozen=True, kw_only=True)
class EarlierSweep:
    """A job that `fork` or `warm_start` names and the user may see."""

    kind: str
    project: str
    spec: SpecData
    """The stored spec."""


def reasons(spec: SweepSpec, rules: TrialRules, *, tune_searchers: Sequence[str] = ()) -> list[ProblemReason]:
    """List everything wrong with a sweep, except with its base, its resources and earlier sweeps.

    Args:
        rules: further rules for the job of a trial.
        tune_searchers: the classes that a searcher of type `tune` may name.
    """
    space = sweep_space.dimensions(spec)
    return [
        *sweep_space.reasons(spec, rules),
        *_searcher(spec, space),
        *_tune_searcher(spec, tune_searchers),
        *_objectives(spec),
        *_constraint(spec),
        *_population(spec, space),
        *_rungs(spec, space),
        *_budget(spec),
        *smallest_batch_reasons(spec, space, rules),
    ]


def earlier_reasons(spec: SweepSpec, earlier: Mapping[str, EarlierSweep]) -> Iterator[ProblemReason]:
    """Yield why the sweep cannot continue from the sweeps that it names.

    Args:
        earlier: by job id.
    """
    space = sweep_space.dimensions(spec)
    named = [(f"warm_start.{index}", job_id) for index, job_id in enumerate(spec.warm_start)]
    if spec.fork is not None:
        named.append(("fork", spec.fork))
    objectives = [objective.model_dump(mode="json") for objective in spec.objectives]
    for loc, job_id in named:
        job = earlier.get(job_id)
        if job is None:
            message = f"there is no job {job_id!r}; `fgd jobs --kind sweep` lists all sweeps"
            yield ProblemReason(loc=loc, code="unknown_job", message=message)
        elif job.kind != "sweep":
            message = f"job {job_id} is of kind {job.kind!r} and has no trials; name a sweep"
            yield ProblemReason(loc=loc, code="no_sweep", message=message)
        elif job.project != spec.project:
            message = (
                f"sweep {job_id} belongs to project {job.project!r}, this one to {spec.project!r}; submit it there"
            )
            yield ProblemReason(loc=loc, code="other_project", message=message)
        elif job.spec.get("objectives") != objectives:
            message = f"the trials of sweep {job_id} have other objectives; use its `objectives`"
            yield ProblemReason(loc=loc, code="other_objectives", message=message)
        elif loc == "fork":
            changed = [path for path in _changed(spec, job.spec) if not any(_lies_in(path, each) for each in space)]
            if changed:
                message = f"a fork counts the trials of sweep {job_id} as its own, but the bases differ in "
                cure = "; use the same values, search these fields, or name the sweep in warm_start instead of fork"
                yield ProblemReason(loc=loc, code="other_base", message=message + ", ".join(changed[:5]) + cure)


def _searcher(spec: SweepSpec, space: Mapping[str, Dimension]) -> Iterator[ProblemReason]:
    searcher = spec.searcher
    if isinstance(searcher, Grid):
        for path, dimension in space.items():
            if not isinstance(dimension, Choice | Integers):
                message = (
                    f"a grid over {path!r} would be infinite, because it is {dimension.type}; make it a "
                    "choice or integers"
                )
                yield ProblemReason(
                    loc=f"space.{path}", code="grid_over_range", message=f"{message}, or use another searcher"
                )
        if math.prod(map(num_values, space.values())) > MAX_GRID:
            message = (
                f"the grid has more than {MAX_GRID} points, which is the limit; search fewer values, or use random"
            )
            yield ProblemReason(loc="searcher.type", code="grid_too_large", message=message)
    has_numbers = not space or any(not isinstance(dimension, Choice) for dimension in space.values())
    if isinstance(searcher, QuasiRandom | CmaEs | GaussianProcess) and not has_numbers:
        message = f"{searcher.type} searches numbers, but the space has only choices; use tpe, random or grid"
        yield ProblemReason(loc="searcher.type", code="no_numbers", message=message)
    if isinstance(searcher, CmaEs | TuneSearch) and len(spec.objectives) > 1:
        message = f"{searcher.type} takes one objective, but there are {len(spec.objectives)}; use nsga2 or tpe"
        yield ProblemReason(loc="searcher.type", code="one_objective_only", message=message)


def _tune_searcher(spec: SweepSpec, allowed: Sequence[str]) -> Iterator[ProblemReason]:
    searcher = spec.searcher
    if isinstance(searcher, TuneSearch) and searcher.name not in allowed:
        message = (
            f"{searcher.name!r} is not in the server's setting FGD_TUNE_SEARCHERS; {closest(searcher.name, allowed)}"
        )
        yield ProblemReason(loc="searcher.name", code="searcher_not_allowed", message=message)


def num_values(dimension: Dimension) -> int:
    """Return how many values a grid has along a dimension."""
    match dimension:
        case Choice():
            return len(dimension.values)
        case Integers():
            return max(dimension.high - dimension.low + 1, 0)
        case _:
            return 1


def _objectives(spec: SweepSpec) -> Iterator[ProblemReason]:
    metrics = [objective.metric for objective in spec.objectives]
    if not metrics:
        message = "without an objective no trial is better than another; write one, or leave `objectives` out"
        yield ProblemReason(loc="objectives", code="no_objective", message=message)
    for index, metric in enumerate(metrics):
        loc = f"objectives.{index}.metric"
        kind, colon, name = metric.partition(":")
        if metrics.index(metric) < index:
            message = f"{metric!r} is already an objective; remove one of them"
            yield ProblemReason(loc=loc, code="duplicate_objective", message=message)
        elif colon and kind in _OF_CLASS and name:
            # Only the run knows the classes of other data.
            data = files_of(spec.base.data)
            if isinstance(data, Shapes) and name not in SHAPE_NAMES[data.scene]:
                message = f"the data of the base has no class {name!r}; {closest(name, SHAPE_NAMES[data.scene])}"
                yield ProblemReason(loc=loc, code="unknown_class", message=message)
        elif metric not in _METRICS:
            message = f"there is no metric {metric!r}; {closest(metric, _METRICS)}, and class:<name>, class50:<name>"
            yield ProblemReason(loc=loc, code="unknown_metric", message=message)
        elif metric in PART_METRICS and not _finds(_learner(spec), PART_METRICS[metric].part):
            part, name = PART_METRICS[metric]
            message = (
                f"{_learner(spec).type} has no {part}, so there is no metric {metric!r}; use "
                f"{name!r}, or the detector {PART_NAMES[part]}_rcnn"
            )
            yield ProblemReason(loc=loc, code=f"no_{part}", message=message)
    if isinstance(spec.scheduler, RunAll):
        return
    if len(metrics) > 1:
        message = f"{spec.scheduler.type} stops trials by one objective, but there are {len(metrics)}; use none"
        yield ProblemReason(loc="scheduler.type", code="one_objective_only", message=message)
    elif metrics and metrics[0] in _OF_RESULT:
        message = f"{metrics[0]!r} is measured only at the end of a trial, so {spec.scheduler.type} cannot use it; "
        yield ProblemReason(loc="scheduler.type", code="known_too_late", message=f"{message}use none")


def _finds(detector: DetectorSpec, part: Part) -> bool:
    return detector.has_masks if part == "masks" else detector.has_keypoints


def _learner(spec: SweepSpec) -> DetectorSpec:
    return spec.base.detector if isinstance(spec.base, TrainSpec) else spec.base.student


def _population(spec: SweepSpec, space: Mapping[str, Dimension]) -> Iterator[ProblemReason]:
    scheduler = spec.scheduler
    if not isinstance(scheduler, PopulationBased):
        return
    for path, dimension in space.items():
        if not path.startswith("method.") or path == "method.type":
            message = (
                f"population_based changes values while a trial trains, and {path!r} cannot change then; search only "
            )
            cure = "fields of method, or use another scheduler"
            yield ProblemReason(loc=f"space.{path}", code="not_in_flight", message=message + cure)
        if isinstance(dimension, Choice) and _mixes_auto(dimension.values):
            message = (
                f"population_based changes values while a trial trains, and {path!r} cannot change between auto and a "
                "number then; search numbers only, or use another scheduler"
            )
            yield ProblemReason(loc=f"space.{path}", code="not_in_flight", message=message)
    if isinstance(spec.searcher, Grid):
        message = "population_based perturbs values, but a grid has no values between its points; use random or tpe"
        yield ProblemReason(loc="searcher.type", code="grid_with_population", message=message)
    if spec.budget.trials < scheduler.population:
        message = f"a population of {scheduler.population} needs as many trials, but the budget has "
        cure = f"{spec.budget.trials}; raise budget.trials, or lower scheduler.population"
        yield ProblemReason(loc="budget.trials", code="below_population", message=message + cure)


def _mixes_auto(values: Sequence[JsonValue]) -> bool:
    return "auto" in values and any(value != "auto" for value in values)


def _rungs(spec: SweepSpec, space: Mapping[str, Dimension]) -> Iterator[ProblemReason]:
    """Check that the scheduler's first rung is within the training, is evaluated, and is the same for all trials."""
    scheduler = spec.scheduler_with_rung()
    if isinstance(scheduler, RunAll):
        return
    name = "every_epochs" if isinstance(scheduler, PopulationBased) else "grace_epochs"
    first: int = getattr(scheduler, name)
    loc, training = f"scheduler.{name}", spec.base.training
    if first > training.epochs:
        message = f"{name} is {first}, but a trial trains {training.epochs} epochs; lower it to at most that"
        yield ProblemReason(loc=loc, code="beyond_training", message=message)
    if first % training.evaluate_every:
        every = training.evaluate_every
        message = f"{name} is {first}, but trials are evaluated every {every} epochs; make it a multiple of {every}"
        yield ProblemReason(loc=loc, code="not_evaluated", message=message)
    if spec.budget.epochs is not None and spec.budget.epochs < first:
        message = (
            f"a budget of {spec.budget.epochs} epochs ends before the first rung at epoch {first}; raise it, or lower "
        )
        yield ProblemReason(loc="budget.epochs", code="below_one_rung", message=f"{message}{loc}")
    if "training.epochs" in space:
        # At the same epoch a shorter training has fewer epochs left and a lower learning rate, so it looks better.
        cure = "remove training.epochs from the space, or use none"
        message = f"{scheduler.type} compares trials of equal length; {cure}"
        yield ProblemReason(loc="space.training.epochs", code="lengths_differ", message=message)


def _budget(spec: SweepSpec) -> Iterator[ProblemReason]:
    if spec.seeds > 1 and spec.finalists > spec.budget.trials:
        message = (
            f"finalists is {spec.finalists}, but the budget has {spec.budget.trials} trials; lower it, or "
            "raise the budget"
        )
        yield ProblemReason(loc="finalists", code="more_than_trials", message=message)
    if spec.budget.gpu_hours is not None and not spec.resources.gpus:
        message = "trials without a GPU use no GPU hours; set resources.gpus, or limit wall_clock_s"
        yield ProblemReason(loc="budget.gpu_hours", code="no_gpus", message=message)


def _constraint(spec: SweepSpec) -> Iterator[ProblemReason]:
    """Check that a constraint can be tested: against the student without distillation, on two or more fresh seeds."""
    if spec.constraint is None:
        return
    name = spec.constraint.type
    if isinstance(spec.base, TrainSpec):
        message = f"{name} compares with the student without distillation, and a base of kind train distils nothing; "
        yield ProblemReason(loc="constraint", code="no_distillation", message=f"{message}remove it")
    elif not spec.baselines:
        message = f"{name} compares with the student without distillation, which baselines: false leaves out; remove it"
        yield ProblemReason(loc="baselines", code="no_baseline", message=message)
    if spec.seeds < LEAST_SEEDS_OF_A_CONSTRAINT:
        message = (
            f"seeds is {spec.seeds}, and {name} needs at least {LEAST_SEEDS_OF_A_CONSTRAINT}: one seed chooses a "
            f"configuration, and two fresh ones test it; set seeds: {LEAST_SEEDS_OF_A_CONSTRAINT}, better 5"
        )
        yield ProblemReason(loc="seeds", code="too_few_seeds", message=message)
    if len(spec.objectives) > 1:
        message = f"{name} chooses the best configuration by one objective; keep one of {len(spec.objectives)}"
        yield ProblemReason(loc="objectives", code="several_objectives", message=message)


def _changed(spec: SweepSpec, earlier: SpecData) -> list[str]:
    """Paths of the base with other values in the earlier sweep, without those that are set on the sweep."""
    ours, theirs = _leaves(spec.base.model_dump(mode="json")), _leaves(earlier.get("base") or {})
    paths = {path for path in {**ours, **theirs} if path.partition(".")[0] not in sweep_space.OF_THE_SWEEP}
    return sorted(path for path in paths if ours.get(path) != theirs.get(path))


def _leaves(spec: SpecData, before: str = "") -> dict[str, Any]:
    found = {}
    for name, value in spec.items():
        found.update(_leaves(value, f"{before}{name}.") if isinstance(value, dict) else {f"{before}{name}": value})
    return found


def _lies_in(path: str, field: str) -> bool:
    return path == field or path.startswith(f"{field}.")
