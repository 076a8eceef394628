"""Puts the values of a searched choice side by side, for example the methods of a sweep over `method.type`.

Each value is represented by its best configuration, which is compared with no distillation as the winner is: the same
seeds count, and the difference is corrected for all configurations that could have won. So the promise of
`service.compare.sweeps.margins` holds for all rows together: if no value differs from no distillation, at most 2.5 % of
sweeps call any of them clearly better. Rows are not tested against each other; for the first two the report has the
margin of the runner-up.
"""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

from fgd_core.spec.dimensions import Choice, Dimension
from fgd_core.spec.kinds.sweep import SweepSpec
from fgd_core.spec.paths import field
from fgd_core.spec.study_state import Direction
from fgd_core.spec.sweep_report import Alternative, Alternatives, Margin, Standing, TrialView
from service.compare.sweeps.configurations import scores_that_count
from service.compare.sweeps.margins import margin


def alternatives(
    spec: SweepSpec, trials: Sequence[TrialView], ranked: Sequence[Standing], *, is_over: bool
) -> list[Alternatives]:
    """Compare the values of each searched choice among names; choices among numbers have charts.

    Args:
        ranked: the standings of `trials`, best first.
        is_over: whether the sweep is over. Before, nothing is decided.
    """
    plain = next((each for each in ranked if each.origin == "plain"), None)
    direction = spec.objectives[0].direction
    found = []
    for path, dimension in spec.dimensions().items():
        names = _names(dimension)
        if names is None:
            continue
        values = _values(spec, path, dimension, trials)
        best = {values[each.trial]: each for each in reversed(ranked) if each.trial in values}
        by_rank = sorted(best, key=lambda name: best[name].rank)
        rows = [
            _row(
                name,
                [trial for trial in trials if values.get(trial.trial) == name],
                best=best.get(name),
                gain=_gain(best.get(name), plain, ranked, direction, is_over=is_over),
            )
            for name in dict.fromkeys([*by_rank, *names])
        ]
        found.append(Alternatives(path=path, rows=rows, plain_class_ap=_class_ap(plain, trials)))
    return found


def _names(dimension: Dimension) -> list[str] | None:
    """The values of a choice among names; None for any other dimension."""
    if not isinstance(dimension, Choice):
        return None
    names = [value for value in dimension.values if isinstance(value, str)]
    return names if len(names) == len(dimension.values) else None


def _values(spec: SweepSpec, path: str, dimension: Dimension, trials: Iterable[TrialView]) -> Mapping[int, str]:
    """The value of each trial that has one; the plain student has none, because it is compared with all."""
    # Outside of its condition a field has no meaning, whatever the base says.
    default = field(spec.base.model_dump(mode="json"), path) if dimension.when is None else None
    plain = {trial.trial for trial in trials if trial.origin == "plain"}
    found = {}
    for trial in trials:
        value = trial.values.get(path, default)
        if isinstance(value, str) and trial.trial not in plain and trial.repeats not in plain:
            found[trial.trial] = value
    return found


def _row(name: str, trials: Sequence[TrialView], *, best: Standing | None, gain: Margin | None) -> Alternative:
    return Alternative(
        value=name,
        num_trials=sum(trial.repeats is None for trial in trials),
        epochs=sum(trial.epochs_trained for trial in trials),
        best=best.trial if best is not None else None,
        gain=gain,
        class_ap=_class_ap(best, trials),
    )


def _gain(
    best: Standing | None, plain: Standing | None, ranked: Sequence[Standing], direction: Direction, *, is_over: bool
) -> Margin | None:
    if best is None or plain is None or not best.is_comparable or not plain.is_comparable:
        return None
    return margin(best, plain, ranked, direction, is_over=is_over)


def _class_ap(of: Standing | None, trials: Sequence[TrialView]) -> dict[str, float | None]:
    """AP by class, as the mean over the seeds that count."""
    if of is None:
        return {}
    results = [scores.per_class for scores in scores_that_count(of, trials)]
    names = dict.fromkeys(name for result in results for name in result)
    return {name: _mean(result[name].ap for result in results if name in result) for name in names}


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
