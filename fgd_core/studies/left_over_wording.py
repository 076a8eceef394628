"""Writes the finding of a `left_over` study as sentences."""

from collections.abc import Iterator, Sequence

from fgd_core.spec.comparison import FALSE_DISCOVERY_RATE
from fgd_core.spec.study_findings.left_over import GroupSet, Individual, LeftOver
from fgd_core.spec.study_findings.trend import Trend
from fgd_core.statistics.false_discovery import adjusted

_NAMED = 8


def sentences(found: LeftOver) -> list[str]:
    """Say who lost, then how the student relates to its teacher, then how fair it is, then what settings change."""
    of_groups = (line for each in found.group_sets for line in _groups(each, found.min_boxes))
    return [
        *_classes(found),
        *_disagreement(found),
        *of_groups,
        *_individual(found.individual),
        *_trends(found.trends),
    ]


def _classes(found: LeftOver) -> Iterator[str]:
    if min(found.num_seeds["plain"], found.num_seeds["distilled"]) < 2:
        yield "Nothing can be tested with one seed of a student: run both with three or more."
        return
    changes = {row.name: row.change for row in found.classes if row.change is not None}
    tested = {name: change for name, change in changes.items() if change.finding != "too_little_data"}
    gained = sum(change.finding == "gained" for change in tested.values()) or "none"
    if found.lost:
        names = ", ".join(found.lost[:_NAMED]) + (" …" if len(found.lost) > _NAMED else "")
        yield f"Distilling hurts {len(found.lost)} of {len(tested)} tested classes: {names}; it helps {gained}."
    else:
        text = f"Distilling is not shown to hurt any of {len(tested)} tested classes; it helps {gained}."
        lows = [(change.low, name) for name, change in tested.items() if change.low is not None and change.low < 0]
        low, name = min(lows, default=(0.0, ""))
        yield f"{text} A loss is not excluded: the 95 % intervals reach down to {low:+.3f} ({name})." if lows else text
    yield (
        f"{_classes_in_words(found.num_changed)} changed significantly more or less than the AP over all classes. "
        "Relative to the AP of each, the student is significantly stronger or weaker than its teacher on "
        f"{_classes_in_words(found.num_unlike_teacher).lower()}."
    )


def _classes_in_words(number: int) -> str:
    return f"{number} classes" if number > 1 else "1 class" if number else "No class"


def _disagreement(found: LeftOver) -> Iterator[str]:
    share = {(each.first, each.second): each.share for each in found.disagreements}
    if ("distilled", "teacher") in share and ("plain", "teacher") in share:
        text = (
            f"The distilled student and its teacher differ about {share['distilled', 'teacher']:.1%} of the objects, "
            f"the plain student and the teacher about {share['plain', 'teacher']:.1%}"
        )
        chance = share.get(("distilled", "distilled"))
        yield f"{text}." if chance is None else f"{text}; two seeds of the distilled one about {chance:.1%}."


def _groups(found: GroupSet, min_boxes: int) -> Iterator[str]:
    lost = [row.name for row in found.groups if row.recall.change.finding == "lost"]
    if lost:
        yield f"By {found.name}, distilling lowers the recall of {', '.join(lost)}."
    if found.odds is not None:
        change = found.odds.change
        says = {"gained": "less fair", "lost": "fairer"}.get(change.finding, "as fair, within noise")
        yield (
            f"By {found.name}, the equalised odds difference is {found.odds.distilled:.3f} with distillation and "
            f"{found.odds.plain:.3f} without: {says}."
        )
    if found.too_small:
        named = ", ".join(f"{name} ({number})" for name, number in found.too_small.items())
        yield f"By {found.name}, groups with fewer than {min_boxes} objects are not compared: {named}."


def _individual(found: Individual | None) -> Iterator[str]:
    if found is None:
        return
    flips = found.flips
    says = {"gained": "less steady", "lost": "steadier"}.get(flips.change.finding, "as steady, within noise")
    yield (
        f"When images are mildly altered, {flips.distilled:.1%} of the objects appear or disappear for the distilled "
        f"student, {flips.plain:.1%} for the plain one and {flips.teacher:.1%} for the teacher: {says}."
    )


def _trends(found: Sequence[Trend]) -> Iterator[str]:
    if not found:
        return
    p_values = adjusted([trend.p for trend in found])
    shown = [trend for trend, p in zip(found, p_values, strict=True) if p <= FALSE_DISCOVERY_RATE]
    for trend in shown:
        yield (
            f"Each time {trend.over} is doubled, {trend.of} changes by {trend.per_doubling:+.3f} "
            f"({trend.low:+.3f} to {trend.high:+.3f})."
        )
    if not shown:
        settings = " or ".join(dict.fromkeys(trend.over for trend in found))
        yield f"None of {len(found)} trends over {settings} is shown: each may be chance."
