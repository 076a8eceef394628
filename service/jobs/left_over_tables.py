"""The figures of a `left_over` study as tables of text."""

from collections.abc import Iterator, Sequence

from fgd_core.spec.charts import StudyTable
from fgd_core.spec.study_findings.left_over import Individual, LeftOver, Rate
from service.jobs.study_cells import (
    change_cells,
    mean_cells,
    number,
    rate_cells,
    trends_table,
)


def left_over_tables(found: LeftOver) -> Iterator[StudyTable]:
    """Yield the tables, the most important first; some have no rows."""
    yield StudyTable(
        title="AP per class",
        headings=("class", "boxes", "plain", "distilled", "teacher", "gain", "interval", "p", "verdict"),
        rows=[
            (
                row.name,
                str(row.num_boxes),
                *map(number, (row.second, row.first, row.teacher)),
                *change_cells(row.change),
            )
            for row in found.classes
        ],
        note=f"p is adjusted for the number of classes: of those called gained or lost, at most "
        f"{found.false_discovery_rate:.0%} are expected to be false alarms. Classes with fewer than "
        f"{found.min_boxes} boxes are not tested.",
    )
    yield StudyTable(
        title="Groups",
        headings=("group", "boxes", "recall plain", "distilled", "teacher", "change", "verdict"),
        rows=[
            (f"{each.name}: {row.name}", str(row.num_boxes), *rate_cells(row.recall))
            for each in found.group_sets
            for row in each.groups
        ],
        note="Recall at IoU 0.5, at each class's score with the best F1. All groups are judged together.",
    )
    yield StudyTable(
        title="Fairness",
        headings=("difference between groups", "plain", "distilled", "teacher", "change", "verdict"),
        rows=[
            (f"{each.name}: {name}", *rate_cells(rate))
            for each in found.group_sets
            for name, rate in (("demographic parity", each.parity), ("equalised odds", each.odds))
            if rate is not None
        ],
        note="0 treats all groups alike, and a difference that gained is larger. Demographic parity: the highest minus "
        "the lowest rate of detections for each true box. Equalised odds: the larger of the gaps of recall and of "
        "false alarms.",
    )
    yield StudyTable(
        title="Altered images",
        headings=("what differs", "plain", "distilled", "teacher", "change", "interval", "p", "verdict"),
        rows=[(name, *mean_cells(rate), *change_cells(rate.change)) for name, rate in _steadiness(found.individual)],
        note="Between an image and its copies: the share of the objects that are found in only one of the two, and the "
        "mean difference of their scores. 0 is best, and what gained is less steady. p is adjusted for both.",
    )
    yield StudyTable(
        title="Disagreement",
        headings=("runs", "objects they differ about"),
        rows=[(f"{each.first} and {each.second}", f"{each.share:.1%}") for each in found.disagreements],
        note="Two runs of one arm show how much of this is chance.",
    )
    yield trends_table(found.trends)


def _steadiness(found: Individual | None) -> Sequence[tuple[str, Rate]]:
    return [] if found is None else [("found or not", found.flips), ("score", found.score_change)]
