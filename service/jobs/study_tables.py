"""The figures of a study as tables of text: for the terminal, the HTML report and the page."""

from collections.abc import Iterator, Sequence

from fgd_core.spec.charts import StudyTable
from fgd_core.spec.comparison import ClassRow, ScoreRow
from fgd_core.spec.study_findings.gain import Contrast, Gain
from fgd_core.spec.study_findings.left_over import LeftOver
from fgd_core.spec.study_findings.why import SettingGain, Spread, Why
from fgd_core.spec.study_report import Findings, StudyReport
from service.jobs.left_over_tables import left_over_tables
from service.jobs.metric_text import metric_name
from service.jobs.study_cells import change_cells, interval, number, p_value, signed, trends_table, verdict


def study_tables(report: StudyReport) -> list[StudyTable]:
    """Return the tables of a report, the most important first."""
    return [table for table in _tables(report.findings) if table.rows]


def setting_name(gain: SettingGain) -> str:
    """Return how people name the setting of a `why` study: `fraction 0.5`."""
    return f"{gain.varied} {gain.value}" if gain.varied != "nothing" else "as it is"


def _tables(found: Findings) -> Iterator[StudyTable]:
    match found:
        case Gain():
            return _gain(found)
        case LeftOver():
            return left_over_tables(found)
        case Why():
            return _why(found)


def _gain(found: Gain) -> Iterator[StudyTable]:
    yield StudyTable(
        title="Arms",
        headings=("arm", "seeds", "AP", "interval", "AP of each seed"),
        rows=[
            (
                arm.arm,
                str(len(arm.seeds)),
                number(arm.mean),
                interval(arm.low, arm.high, "{:.3f}"),
                " ".join(map(number, arm.aps)),
            )
            for arm in found.arms
        ],
        note=f"Intervals are {found.confidence:.0%} intervals of the mean over seeds.",
    )
    yield StudyTable(
        title="What each brings",
        headings=("against", "AP", "interval", "p", "verdict", "seeds show", _needed(found)),
        rows=[_contrast(each) for each in found.contrasts],
        note="p is adjusted for the number of these comparisons. Seeds show: the smallest true gain that so many seeds "
        "find four times in five. The last column: the seeds of each arm that find the smallest gain that matters.",
    )
    scores = [[(metric_name(row.score), row) for row in each.scores] for each in found.contrasts]
    yield _by_contrast("Other scores", "score", scores, found)
    classes = [[(row.name, row) for row in each.classes] for each in found.contrasts]
    yield _by_contrast("AP per class", "class", classes, found)


def _why(found: Why) -> Iterator[StudyTable]:
    yield StudyTable(
        title="The gain in each setting",
        headings=("setting", "plain", "distilled", "gain", "interval", "p", "verdict"),
        rows=[
            (setting_name(row), number(row.plain), number(row.distilled), *change_cells(row.change))
            for row in found.gains
        ],
        note="AP. p is adjusted for the number of settings.",
    )
    yield trends_table(found.trends)
    yield StudyTable(
        title="Teachers",
        headings=("teacher", "AP", "calibration error", "Brier score", "gain"),
        rows=[
            (each.checkpoint, *map(number, (each.ap, each.calibration_error, each.brier)), number(each.gain, "+.3f"))
            for each in found.teachers
        ],
        note="Of the scores as probabilities that a detection is right at IoU 0.5; 0 is best.",
    )
    yield StudyTable(
        title="Variance over seeds",
        headings=("standard deviation of AP", "plain", "distilled", "ratio", "interval", "p"),
        rows=[_spread(found.spread)] if found.spread is not None else [],
    )


def _spread(found: Spread) -> Sequence[str]:
    ratio = (f"{found.ratio:.2f}", interval(found.low, found.high, "{:.2f}"))
    return ("of all shares", f"{found.plain:.4f}", f"{found.distilled:.4f}", *ratio, p_value(found.p))


def _contrast(each: Contrast) -> Sequence[str]:
    power = each.power
    return (
        _pair(each),
        *change_cells(each.change),
        f"{power.shown_gain:.3f}" if power is not None else "–",
        "–" if power is None else str(power.seeds_needed) if power.seeds_needed is not None else "more than 50",
    )


def _by_contrast(
    title: str, what: str, each: Sequence[Sequence[tuple[str, ScoreRow | ClassRow]]], found: Gain
) -> StudyTable:
    """Put the rows of all comparisons side by side."""
    names = list(dict.fromkeys(name for rows in each for name, _ in rows))
    cells = [{name: _cell(row) for name, row in rows} for rows in each]
    return StudyTable(
        title=title,
        headings=(what, *(_pair(contrast) for contrast in found.contrasts)),
        rows=[(name, *(column.get(name, "–") for column in cells)) for name in names],
        note="Differences, and what each is: without a word, chance explains it.",
    )


def _cell(row: ScoreRow | ClassRow) -> str:
    if row.change is None:
        return "–"
    word = "" if row.change.finding == "noise" else f" {verdict(row.change)}"
    return f"{signed(row.change)}{word}"


def _pair(contrast: Contrast) -> str:
    return f"{contrast.first} against {contrast.second}"


def _needed(found: Gain) -> str:
    smallest = next((each.power.smallest_gain for each in found.contrasts if each.power is not None), None)
    return f"seeds for {smallest:g}" if smallest is not None else "seeds needed"
