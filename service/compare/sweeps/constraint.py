"""Tests the constraint of a sweep: no class and no size of objects loses against the student without distillation.

For each configuration, Welch's one-sided t-test over the seeds that count compares the AP of each class and size with
that of the plain student. The tests of a configuration are judged together after Benjamini and Hochberg, as a
`left_over` study does. So a configuration that harms no class is passed over in at most 5 % of sweeps. As in
`service.compare.sweeps.margins`, the variance is pooled over the repeated configurations.
`benchmarks/sweep_constraint.py` measures the error rates and the power.
"""

from collections.abc import Mapping, Sequence
from operator import itemgetter
from statistics import fmean
from typing import Literal, NamedTuple, TypeAlias

from fgd_core.spec.comparison import FALSE_DISCOVERY_RATE, MIN_BOXES
from fgd_core.spec.results import Scores
from fgd_core.spec.search import NoClassLoses
from fgd_core.spec.sweep_report import ConstraintCheck, Loss, Standing, TrialView
from fgd_core.statistics.false_discovery import adjusted
from fgd_core.statistics.welch import Difference, sample, t_quantile, welch
from service.compare.sweeps.configurations import scores_that_count
from service.compare.sweeps.margins import is_repeated, pooled, with_pool

_POWER = 0.8


_Aps: TypeAlias = Mapping["Part", Sequence[float]]
"""AP by part, over the runs that count."""


class Part(NamedTuple):
    """What may not lose: a class, or a size of objects."""

    of: Literal["class", "size"]
    name: str


def constrained(
    ranked: Sequence[Standing], trials: Sequence[TrialView], constraint: NoClassLoses | None, *, is_over: bool
) -> list[Standing]:
    """Test each configuration, and rank those that do not fulfil the constraint behind the others.

    Args:
        ranked: the standings of `trials`, best first.
        is_over: whether the sweep is over. Before, nothing is decided, because each look would be another chance to
            be wrong.
    """
    if constraint is None:
        return [*ranked]
    runs = {each.trial: _aps(scores_that_count(each, trials), constraint) for each in ranked}
    plain: _Aps = next((runs[each.trial] for each in ranked if each.origin == "plain"), {})
    repeated = [runs[each.trial] for each in ranked if is_repeated(each)]
    checked = []
    for each in ranked:
        check = None
        if each.origin != "plain":
            check = ConstraintCheck(verdict="pending")
            if is_over:
                check = _check(runs[each.trial], plain, repeated if is_repeated(each) else [])
        checked.append(each.model_copy(update={"constraint": check}))
    checked.sort(key=lambda each: each.is_passed_over)
    return [each.model_copy(update={"rank": rank}) for rank, each in enumerate(checked, start=1)]


def _aps(runs: Sequence[Scores], constraint: NoClassLoses) -> _Aps:
    """AP of each part over the runs, without parts that have no true boxes; empty if a class has too few of them."""
    found: dict[Part, list[float | None]] = {}
    for scores in runs:
        if "classes" in constraint.over:
            for name, score in scores.per_class.items():
                found.setdefault(Part("class", name), []).extend([score.ap] if score.num_boxes >= MIN_BOXES else [])
        if "sizes" in constraint.over:
            for size, ap in (("small", scores.ap_small), ("medium", scores.ap_medium), ("large", scores.ap_large)):
                found.setdefault(Part("size", size), []).append(ap)
    return {part: [ap for ap in aps if ap is not None] for part, aps in found.items() if None not in aps}


def _check(ours: _Aps, plain: _Aps, repeated: Sequence[_Aps]) -> ConstraintCheck:
    parts = [part for part in ours if part in plain]
    tests = {part: _test(ours[part], plain[part], [each.get(part, []) for each in repeated]) for part in parts}
    tested = sorted(
        ((_p_of_a_loss(test), part, test) for part, test in tests.items() if test is not None), key=itemgetter(0)
    )
    if not tested:
        return ConstraintCheck(verdict="untested", num_untested=len(parts))
    losses = [
        Loss(
            name=part.name,
            of=part.of,
            plain=fmean(plain[part]),
            mean=fmean(ours[part]),
            interval=test.interval,
            p_adjusted=p,
        )
        for p, (_, part, test) in zip(adjusted([p for p, *_ in tested]), tested, strict=True)
        if p <= FALSE_DISCOVERY_RATE
    ]
    return ConstraintCheck(
        verdict="lost" if losses else "kept",
        losses=losses,
        num_tested=len(tested),
        num_untested=len(parts) - len(tested),
        power_from=max(_visible(test, len(tested)) for *_, test in tested),
    )


def _test(ours: Sequence[float], plain: Sequence[float], repeated: Sequence[Sequence[float]]) -> Difference | None:
    """Ours minus plain; None for fewer than two runs of a side, and without any spread."""
    first, second = with_pool(ours, pooled(repeated)), sample(plain)
    return None if first is None or second is None else welch(first, second)


def _p_of_a_loss(test: Difference) -> float:
    """One-sided."""
    return test.p_value / 2 if test.value < 0 else 1 - test.p_value / 2


def _visible(test: Difference, num_tests: int) -> float:
    """The true loss that is found with the power of 80 %, if it is the only one of `num_tests`."""
    critical = t_quantile(test.freedom, 1 - 2 * FALSE_DISCOVERY_RATE / num_tests)
    return (critical + t_quantile(test.freedom, 2 * _POWER - 1)) * test.error
