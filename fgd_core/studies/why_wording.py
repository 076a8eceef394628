"""Writes the finding of a `why` study as sentences."""

from collections.abc import Iterator, Mapping

from fgd_core.spec.study_findings.trend import Trend
from fgd_core.spec.study_findings.why import Rank, SettingGain, Spread, Why

_SIGNIFICANT = 0.05
_VARIED: Mapping[str, str] = {
    "nothing": "Distilling",
    "teacher": "Distilling from {}",
    "fraction": "With {} of the training images, distilling",
}


def sentences(found: Why) -> list[str]:
    """Say what the base brings, then on what this depends, then what the teachers are like."""
    return [
        *(_gain(each) for each in found.gains if each.varied == "nothing" or _is_shown(each)),
        *map(_trend, found.trends),
        *_no_trends(found),
        *([_spread(found.spread)] if found.spread is not None else []),
        *_teachers(found),
    ]


def _is_shown(each: SettingGain) -> bool:
    return each.change is not None and each.change.finding in ("gained", "lost")


def _gain(each: SettingGain) -> str:
    subject = _VARIED.get(each.varied, f"Distilling at {each.varied} {{}}").format(each.value)
    change = each.change
    if change is None:
        return f"{subject} cannot be judged: there is no AP."
    by = f"{subject} changes AP by {change.value:+.3f}"
    if change.low is None or change.high is None or change.p_adjusted is None:
        return f"{by}; it is not known whether this is more than noise: run each arm with three or more seeds."
    says = {"gained": "it helps", "lost": "it hurts"}.get(change.finding, "within noise")
    return f"{by}: {says} (95 % interval {change.low:+.3f} to {change.high:+.3f}, p = {change.p_adjusted:.2g})."


def _trend(found: Trend) -> str:
    if found.over == "fraction":
        subject = "Twice as many training images change the gain"
    else:
        subject = f"Twice the {found.over} changes the distilled student's AP, and so the gain,"
    interval = f"95 % interval {found.low:+.3f} to {found.high:+.3f}, p = {found.p:.2g}"
    by = f"{subject} by {found.per_doubling:+.3f} ({interval})"
    return f"{by}." if found.p <= _SIGNIFICANT else f"{by}: no trend is shown."


def _no_trends(found: Why) -> Iterator[str]:
    shown = {"nothing", "teacher", *(each.over for each in found.trends)}
    for name in dict.fromkeys(each.varied for each in found.gains if each.varied not in shown):
        yield f"A trend over {name} needs two values of it with runs; a value that the run finds by itself is none."


def _spread(found: Spread) -> str:
    interval = f"95 % interval {found.low:.2g} to {found.high:.2g}, p = {found.p:.2g}"
    text = (
        f"Over seeds, AP has a standard deviation of {found.distilled:.4f} with distillation and {found.plain:.4f} "
        f"without: {found.ratio:.2g} times as much ({interval})"
    )
    return f"{text}." if found.p <= _SIGNIFICANT else f"{text}: no difference is shown."


def _teachers(found: Why) -> Iterator[str]:
    own = found.teachers[0]
    if own.calibration_error is not None and own.brier is not None:
        yield (
            "The teacher's scores differ from the share of its detections that are right by "
            f"{own.calibration_error:.3f} on average (calibration error); their Brier score is {own.brier:.3f}."
        )
    yield from map(_rank, found.ranks)


def _rank(found: Rank) -> str:
    subject = f"Over {found.num_teachers} teachers, Kendall's tau between the teacher's {found.of} and the gain"
    if found.low is None or found.high is None:
        return f"{subject} is {found.tau:+.2f}; five teachers are needed for an interval."
    text = f"{subject} is {found.tau:+.2f} (95 % interval {found.low:+.2f} to {found.high:+.2f})"
    return f"{text}." if found.low > 0 or found.high < 0 else f"{text}: no relation is shown."
