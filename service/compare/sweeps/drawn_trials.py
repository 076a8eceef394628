"""Which trials of a sweep count for the question whether a dimension mattered, and what they reached.

Only trials count whose values were drawn without knowledge of any result. A searcher that learns proposes good values
of all dimensions together, so a dimension without effect goes along with one that has an effect. A scheduler does no
harm: what it stops depends on the results alone.
"""

import json
import math
from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import JsonValue

from fgd_core.spec.dimensions import Dimension
from fgd_core.spec.kinds.sweep import SweepSpec
from fgd_core.spec.search import Asha, CmaEs, GaussianProcess, Grid, HyperBand, Median, Nsga2, Tpe, TuneSearch
from fgd_core.spec.sweep_report import TrialView
from service.compare.sweeps.importance import lies_inside
from service.compare.sweeps.randomised import Drawn
from service.jobs.trial_values import best_until


def drawn_at_random(spec: SweepSpec, trials: Sequence[TrialView]) -> list[TrialView]:
    """Return the trials of the search whose values depend on no result, by number.

    Optuna draws at random until it knows enough trials. It knows at most those that were asked before, so the first
    `startup_trials` are always random; trials of other sweeps, which it knows from the beginning, leave none.
    """
    asked = sorted((t for t in trials if t.origin in ("searcher", "user") and t.repeats is None), key=lambda t: t.trial)
    dimensions = spec.dimensions()
    first = num_random(spec)
    chosen = asked if first is None else asked[:first]
    return [trial for trial in chosen if trial.origin == "searcher" and lies_inside(trial.values, dimensions)]


def sample(spec: SweepSpec, path: str, counted: Sequence[tuple[Mapping[str, JsonValue], float]]) -> Drawn:
    """Return the trials that a dimension applies to.

    The trials of a grid are not independent draws. So they are compared with those that have the same other values, if
    the grid has tried all values of the dimension with them.
    """
    dimensions = spec.dimensions()
    having = [(values, objective) for values, objective in counted if path in values]
    blocks = np.zeros(len(having), np.intp)
    if isinstance(spec.searcher, Grid):
        others = [other for other in dimensions if other != path and not _depends(other, path, dimensions)]
        keys = [json.dumps([values.get(other) for other in others]) for values, _ in having]
        most = max(map(keys.count, keys), default=0)
        having = [each for each, key in zip(having, keys, strict=True) if keys.count(key) == most]
        whole = [key for key in keys if keys.count(key) == most]
        blocks = np.unique(whole, return_inverse=True)[1].astype(np.intp) if whole else np.zeros(0, np.intp)
    return Drawn(
        dimension=dimensions[path],
        values=[values[path] for values, _ in having],
        objectives=np.array([objective for _, objective in having], np.float64),
        blocks=blocks,
    )


def _depends(path: str, on: str, dimensions: Mapping[str, Dimension]) -> bool:
    """Whether a dimension is searched only for some values of another one."""
    when = dimensions[path].when if path in dimensions else None
    return when is not None and (when.field == on or _depends(when.field, on, dimensions))


def num_random(spec: SweepSpec) -> int | None:
    """How many trials are certainly drawn at random; None for all."""
    match spec.searcher:
        case Tpe() | GaussianProcess() | CmaEs():
            first = spec.searcher.startup_trials
        case Nsga2():
            first = spec.searcher.population
        case TuneSearch():
            first = 0
        case _:
            return None
    return 0 if spec.warm_start or spec.fork else first


def compared_epoch(spec: SweepSpec, drawn: Sequence[TrialView]) -> int | None:
    """The first evaluation at which the scheduler may stop a trial; None if it stops none."""
    scheduler = spec.scheduler_with_rung()
    if not isinstance(scheduler, Median | Asha | HyperBand):
        return None
    first = scheduler.grace_epochs or 1
    evaluated = [point.epoch for trial in drawn for point in trial.reports if point.epoch >= first]
    return min(evaluated, default=first) if first < spec.base.training.epochs else None


def value_at(trial: TrialView, epoch: int | None, spec: SweepSpec) -> float | None:
    if epoch is not None:
        value = best_until(trial, epoch, spec.objectives[0].direction)
    else:
        value = trial.objectives[0] if trial.state == "completed" and trial.objectives else None
    return value if value is not None and math.isfinite(value) else None
