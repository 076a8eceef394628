"""The figures of a study as tables of text: for the terminal, the HTML report and the page."""

from collections.abc import Iterator, Sequence

from fgd_core.spec.charts import StudyTable
from fgd_core.spec.comparison import Change, ClassRow, ScoreRow
from fgd_core.spec.study_findings.gain import Contrast, Gain
from fgd_core.spec.study_findings.left_over import LeftOver, Rate
from fgd_core.spec.study_findings.trend import Trend
from fgd_core.spec.study_findings.why import SettingGain, Spread, Why
from fgd_core.spec.study_report import Findings, StudyReport
from service.jobs.metric_text import metric_name


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
            return _left_over(found)
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
                _number(arm.mean),
                _interval(arm.low, arm.high, "{:.3f}"),
                " ".join(map(_number, arm.aps)),
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


def _left_over(found: LeftOver) -> Iterator[StudyTable]:
    yield StudyTable(
        title="AP per class",
        headings=("class", "boxes", "plain", "distilled", "teacher", "gain", "interval", "p", "verdict"),
        rows=[
            (
                row.name,
                str(row.num_boxes),
                *map(_number, (row.second, row.first, row.teacher)),
                *_change(row.change),
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
            (f"{each.name}: {row.name}", str(row.num_boxes), *_rate(row.recall))
            for each in found.group_sets
            for row in each.groups
        ],
        note="Recall at IoU 0.5, at each class's score with the best F1. All groups are judged together.",
    )
    yield StudyTable(
        title="Fairness",
        headings=("difference between groups", "plain", "distilled", "teacher", "change", "verdict"),
        rows=[
            (f"{each.name}: {name}", *_rate(rate))
            for each in found.group_sets
            for name, rate in (("demographic parity", each.parity), ("equalised odds", each.odds))
            if rate is not None
        ],
        note="0 treats all groups alike; `gained` means a larger difference.",
    )
    yield StudyTable(
        title="Disagreement",
        headings=("runs", "objects they differ about"),
        rows=[(f"{each.first} and {each.second}", f"{each.share:.1%}") for each in found.disagreements],
        note="Two runs of one arm show how much of this is chance.",
    )
    yield _trends(found.trends)


def _why(found: Why) -> Iterator[StudyTable]:
    yield StudyTable(
        title="The gain in each setting",
        headings=("setting", "plain", "distilled", "gain", "interval", "p", "verdict"),
        rows=[
            (setting_name(row), _number(row.plain), _number(row.distilled), *_change(row.change)) for row in found.gains
        ],
        note="AP. p is adjusted for the number of settings.",
    )
    yield _trends(found.trends)
    yield StudyTable(
        title="Teachers",
        headings=("teacher", "AP", "calibration error", "Brier score", "gain"),
        rows=[
            (each.checkpoint, *map(_number, (each.ap, each.calibration_error, each.brier)), _number(each.gain, "+.3f"))
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
    interval = _interval(found.low, found.high, "{:.2f}")
    ratio = f"{found.ratio:.2f}"
    return ("of all shares", f"{found.plain:.4f}", f"{found.distilled:.4f}", ratio, interval, _p(found.p))


def _trends(trends: Sequence[Trend]) -> StudyTable:
    return StudyTable(
        title="Trends",
        headings=("of", "over", "for each doubling", "interval", "p"),
        rows=[
            (each.of, each.over, f"{each.per_doubling:+.3f}", _interval(each.low, each.high), _p(each.p))
            for each in trends
        ],
        note="A line over the logarithm; a curve that rises and falls may have no slope.",
    )


def _rate(rate: Rate) -> Sequence[str]:
    means = map(_number, (rate.plain, rate.distilled, rate.teacher))
    return (*means, _signed(rate.change), _verdict(rate.change))


def _contrast(each: Contrast) -> Sequence[str]:
    power = each.power
    return (
        _pair(each),
        *_change(each.change),
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
    word = "" if row.change.finding == "noise" else f" {_verdict(row.change)}"
    return f"{_signed(row.change)}{word}"


def _pair(contrast: Contrast) -> str:
    return f"{contrast.first} against {contrast.second}"


def _needed(found: Gain) -> str:
    smallest = next((each.power.smallest_gain for each in found.contrasts if each.power is not None), None)
    return f"seeds for {smallest:g}" if smallest is not None else "seeds needed"


def _change(change: Change | None) -> Sequence[str]:
    """Return four cells: the difference, its interval, p and the verdict."""
    return (
        _signed(change),
        _interval(change.low, change.high) if change is not None else "–",
        _p(change.p_adjusted) if change is not None else "–",
        _verdict(change),
    )


def _number(value: float | None, form: str = ".3f") -> str:
    return f"{value:{form}}" if value is not None else "–"


def _signed(change: Change | None) -> str:
    return f"{change.value:+.3f}" if change is not None else "–"


def _interval(low: float | None, high: float | None, form: str = "{:+.3f}") -> str:
    return f"{form.format(low)} to {form.format(high)}" if low is not None and high is not None else "–"


def _p(value: float | None) -> str:
    return f"{value:.2g}" if value is not None else "–"


def _verdict(change: Change | None) -> str:
    return change.finding.replace("_", " ") if change is not None else "nothing to score"
