"""Which dimensions matter: what is compared, and when not to believe it."""

import importlib
import math
from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from fgd_core.spec.search import Choice, Dimension, Integers
from fgd_core.spec.study_state import Direction
from fgd_core.spec.sweep_report import Importance, TrialView
from service.jobs.findings.stopping import best_until

MIN_TRIALS = 4
TRIALS_PER_DIMENSION = 10
"""Below, the estimate is mostly prior."""

SIGNIFICANT = 0.05
_ESTIMATOR = "service.jobs.findings.ped_anova"


def importance(
    trials: Sequence[TrialView], dimensions: Mapping[str, Dimension], direction: Direction
) -> Importance | None:
    """Over the trials of the search; None for fewer than `MIN_TRIALS` that can be compared.

    A stopped trial's best is not comparable with that of a complete one, which had more epochs. So all are compared at
    one epoch: the deepest that at least `MIN_TRIALS`, and at least half of the trials, have reached.
    """
    searched = [trial for trial in trials if trial.origin in ("searcher", "user", "fork") and trial.repeats is None]
    epoch = common_epoch(searched)
    inside = [trial for trial in searched if lies_inside(trial.values, dimensions)]
    compared = [(trial.values, value) for trial in inside if (value := best_until(trial, epoch, direction)) is not None]
    if epoch == 0 or len(compared) < MIN_TRIALS or not dimensions:
        return None
    # The control plane starts without NumPy; only a report on a sweep needs it.
    estimator = importlib.import_module(_ESTIMATOR)
    shares: dict[str, float] = estimator.shares(compared, dimensions, direction)
    p_value: float = estimator.p_value(compared, dimensions, direction)
    return Importance(
        shares=dict(sorted(shares.items(), key=lambda share: -share[1])),
        epoch=epoch,
        num_trials=len(compared),
        num_left_out=len(searched) - len(compared),
        p_value=p_value,
        warning=_warning(len(compared), len(dimensions), shares, p_value),
    )


def common_epoch(trials: Sequence[TrialView]) -> int:
    """The deepest epoch at which enough trials can be compared; 0 where there is none."""
    enough = max(MIN_TRIALS, math.ceil(len(trials) / 2))
    reached = sorted((trial.reports[-1].epoch for trial in trials if trial.reports), reverse=True)
    if len(reached) < enough:
        # Half of them may have failed, or not have begun.
        enough = MIN_TRIALS
    return reached[enough - 1] if len(reached) >= enough else 0


def lies_inside(values: Mapping[str, JsonValue], dimensions: Mapping[str, Dimension]) -> bool:
    """Whether each dimension can take the value that it has here; a conditional one may have none."""
    return all(_holds(dimension, values[path]) for path, dimension in dimensions.items() if path in values) and any(
        path in values for path in dimensions
    )


def _holds(dimension: Dimension, value: JsonValue) -> bool:
    if isinstance(dimension, Choice):
        return value in dimension.values
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    whole = not isinstance(dimension, Integers) or value == int(value)
    return whole and dimension.low <= value <= dimension.high


def _warning(num_trials: int, num_dimensions: int, shares: Mapping[str, float], p_value: float) -> str | None:
    wanted = TRIALS_PER_DIMENSION * num_dimensions
    if not any(shares.values()):
        return "The best trials lie like all the others: nothing sets them apart yet."
    if num_trials < wanted:
        return (
            f"{num_trials} trials for {num_dimensions} dimension{'s' if num_dimensions != 1 else ''} are few: "
            f"below {wanted} ({TRIALS_PER_DIMENSION} for each) the order may be chance."
        )
    if p_value > SIGNIFICANT:
        return (
            f"The order may be chance: with the values of the objective shuffled among the trials, {p_value:.0%} of "
            "tries set the best apart as much."
        )
    return None
