"""How much each dimension sets the best trials apart; `effects` tests which ones matter."""

from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from fgd_core.spec.dimensions import Choice, Dimension, Integers
from fgd_core.spec.study_state import Direction
from fgd_core.spec.sweep_report import Importance, TrialView
from service.compare.sweeps import ped_anova
from service.jobs.trial_values import MIN_COMPARED, best_until, common_epoch

TRIALS_PER_DIMENSION = 10
"""With fewer trials the estimate is mostly prior."""


def importance(
    trials: Sequence[TrialView], dimensions: Mapping[str, Dimension], direction: Direction
) -> Importance | None:
    """Estimate how much each dimension matters, from the trials of the search.

    A stopped trial had fewer epochs than a complete one. So all trials are compared at `common_epoch`.

    Returns:
        None if fewer than `MIN_COMPARED` trials can be compared.
    """
    searched = [trial for trial in trials if trial.origin in ("searcher", "user", "fork") and trial.repeats is None]
    epoch = common_epoch(searched)
    inside = [trial for trial in searched if lies_inside(trial.values, dimensions)]
    compared = [(trial.values, value) for trial in inside if (value := best_until(trial, epoch, direction)) is not None]
    if epoch == 0 or len(compared) < MIN_COMPARED or not dimensions:
        return None
    shares = ped_anova.shares(compared, dimensions, direction)
    return Importance(
        shares=dict(sorted(shares.items(), key=lambda share: -share[1])),
        epoch=epoch,
        num_trials=len(compared),
        num_left_out=len(searched) - len(compared),
        warning=_warning(len(compared), len(dimensions), shares),
    )


def lies_inside(values: Mapping[str, JsonValue], dimensions: Mapping[str, Dimension]) -> bool:
    """Whether each value lies in its dimension; a conditional dimension may have no value."""
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


def _warning(num_trials: int, num_dimensions: int, shares: Mapping[str, float]) -> str | None:
    wanted = TRIALS_PER_DIMENSION * num_dimensions
    if not any(shares.values()):
        return "The best trials are spread like all others: no dimension sets them apart yet."
    if num_trials < wanted:
        return (
            f"{num_trials} trials are few for {num_dimensions} dimension{'s' if num_dimensions != 1 else ''}: "
            f"with fewer than {wanted} ({TRIALS_PER_DIMENSION} for each) the order may be chance."
        )
    return None
