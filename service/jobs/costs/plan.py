"""Which runs a job consists of."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from fgd_core.spec.kinds.chain import ChainSpec
from fgd_core.spec.kinds.distill import DistillSpec
from fgd_core.spec.kinds.study import StudySpec
from fgd_core.spec.kinds.study_types import Variant
from fgd_core.spec.kinds.sweep import SweepSpec
from fgd_core.spec.kinds.train import TrainSpec
from fgd_core.spec.search import Asha, Grid, HyperBand, Median, PopulationBased
from service.jobs.costs.earlier import RunType, run_type
from service.jobs.sweep_admission import num_values

_FRACTION = "input.sampling.fraction"


class PlannedRuns(NamedTuple):
    """Runs of a job that should take equally long."""

    name: str
    type: RunType
    num: int
    least_epochs: float
    """Of one run, if the scheduler of a sweep stops as many trials as it can, as early as it can."""
    most_epochs: float
    round: int = 0
    """Those of a later round start when all of the round before it have ended."""
    most_s: float | None = None
    """Seconds of all these runs together after which a budget ends them."""
    does_less_than: RunType | None = None
    """A run that does what these do, and more: it limits them as long as nothing like them has run."""


class Plan(NamedTuple):
    """The runs of a job."""

    runs: Sequence[PlannedRuns]
    at_once: int
    """The most runs at a time that the job asks for."""
    gpus: int
    """Of each run, over its workers."""


def plan(spec: TrainSpec | DistillSpec | ChainSpec | StudySpec | SweepSpec) -> Plan:
    """Return the runs of a job."""
    gpus = spec.resources.all_gpus
    match spec:
        case StudySpec():
            runs = _of_study(spec)
            return Plan(runs, sum(each.num for each in runs), gpus)
        case SweepSpec():
            return Plan(_of_sweep(spec), spec.concurrent_trials, gpus)
    return Plan([_whole(spec.kind, run_type(spec.model_dump(mode="json")), 1)], 1, gpus)


def _whole(name: str, run: RunType, count: int, *, round_: int = 0) -> PlannedRuns:
    return PlannedRuns(name, run, count, run.epochs, run.epochs, round_)


def _of_study(spec: StudySpec) -> Sequence[PlannedRuns]:
    arms = spec.variants()
    types = {arm: run_type(spec.arm(arm).model_dump(mode="json")) for arm in arms}
    distilled = next((types[arm] for arm, variant in arms.items() if variant.kind == "distill"), None)
    return [
        _whole(arm, types[arm], 1 if variant.kind == "evaluate" else spec.study.num_seeds)._replace(
            does_less_than=distilled if _does_less(variant, spec.base) else None
        )
        for arm, variant in arms.items()
    ]


def _does_less(variant: Variant, base: DistillSpec) -> bool:
    """Return whether the runs of an arm do less than the base: they need no teacher or no student, or fewer images."""
    own = base.input.sampling.fraction
    share = variant.values.get(_FRACTION, own)
    is_part = variant.kind != "distill" or _FRACTION in variant.values
    return is_part and isinstance(share, int | float) and share <= own


def _of_sweep(spec: SweepSpec) -> Sequence[PlannedRuns]:
    run = run_type(spec.trial({}, seed=spec.seed).model_dump(mode="json"), form="trial")
    num_baselines = 2 if spec.baselines and isinstance(spec.base, DistillSpec) else 0
    num_trials = _num_trials(spec)
    num_repeats = (min(spec.finalists, num_trials) + num_baselines) * (spec.seeds - 1)
    planned = (
        _whole("baselines", run, num_baselines),
        _trials(spec, run, num_trials),
        _whole("repeats", run, num_repeats, round_=1),
    )
    return [each for each in planned if each.num]


def _trials(spec: SweepSpec, run: RunType, count: int) -> PlannedRuns:
    """The search itself, within its budget. One trial at least trains to its end, whatever the scheduler does."""
    scheduler, budget = spec.scheduler_with_rung(), spec.budget
    first = run.epochs
    if isinstance(scheduler, Median | Asha | HyperBand):
        first = scheduler.first_rung(int(run.epochs), every=spec.base.training.evaluate_every)
    epochs = [(min(first, run.epochs) * (count - 1) + run.epochs) / count, run.epochs]
    if budget.epochs is not None:
        epochs = [min(each, budget.epochs / count) for each in epochs]
    gpus = spec.resources.all_gpus
    limits = [
        budget.gpu_hours * 3600 / gpus if budget.gpu_hours is not None and gpus else math.inf,
        budget.wall_clock_s * spec.concurrent_trials if budget.wall_clock_s is not None else math.inf,
    ]
    most_s = min(limits) if min(limits) < math.inf else None
    return PlannedRuns("trials", run, count, epochs[0], epochs[1], most_s=most_s)


def _num_trials(spec: SweepSpec) -> int:
    limits = [spec.budget.trials]
    if isinstance(spec.searcher, Grid):
        limits.append(math.prod(map(num_values, spec.dimensions().values())))
    if isinstance(spec.scheduler, PopulationBased):
        limits.append(spec.scheduler.population)
    return min(limits)
