"""How the tables of a study's report write their cells."""

from collections.abc import Sequence

from fgd_core.spec.charts import StudyTable
from fgd_core.spec.comparison import Change
from fgd_core.spec.study_findings.left_over import Rate
from fgd_core.spec.study_findings.trend import Trend


def trends_table(trends: Sequence[Trend]) -> StudyTable:
    """Return how each number changes with a setting."""
    return StudyTable(
        title="Trends",
        headings=("of", "over", "means", "for each doubling", "interval", "p"),
        rows=[
            (
                each.of,
                each.over,
                ", ".join(f"{level.value:g}: {level.mean:.3f}" for level in each.levels),
                f"{each.per_doubling:+.3f}",
                interval(each.low, each.high),
                p_value(each.p),
            )
            for each in trends
        ],
        note="A line over the logarithm; a curve that rises and falls may have no slope.",
    )


def rate_cells(rate: Rate) -> Sequence[str]:
    """Return five cells: plain, distilled, teacher, the difference and the verdict."""
    return (*mean_cells(rate), signed(rate.change), verdict(rate.change))


def mean_cells(rate: Rate) -> Sequence[str]:
    """Return three cells: plain, distilled and teacher."""
    return [*map(number, (rate.plain, rate.distilled, rate.teacher))]


def change_cells(change: Change | None) -> Sequence[str]:
    """Return four cells: the difference, its interval, p and the verdict."""
    return (
        signed(change),
        interval(change.low, change.high) if change is not None else "–",
        p_value(change.p_adjusted) if change is not None else "–",
        verdict(change),
    )


def number(value: float | None, form: str = ".3f") -> str:
    """Return a number, or a dash."""
    return f"{value:{form}}" if value is not None else "–"


def signed(change: Change | None) -> str:
    """Return a difference with its sign, or a dash."""
    return f"{change.value:+.3f}" if change is not None else "–"


def interval(low: float | None, high: float | None, form: str = "{:+.3f}") -> str:
    """Return both ends of an interval, or a dash."""
    return f"{form.format(low)} to {form.format(high)}" if low is not None and high is not None else "–"


def p_value(value: float | None) -> str:
    """Return p to two digits, or a dash."""
    return f"{value:.2g}" if value is not None else "–"


def verdict(change: Change | None) -> str:
    """Return what a difference is, in words."""
    return change.finding.replace("_", " ") if change is not None else "nothing to score"
