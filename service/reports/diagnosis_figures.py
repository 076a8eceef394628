"""The charts of a report that show where detectors err: kinds of error, precision, calibration, confusions."""

from collections.abc import Sequence
from typing import NamedTuple

from fgd_core.spec.diagnosis import Calibration, Confusion, CountGroup, Diagnosis, ErrorKind
from fgd_core.spec.report import JobReport, Report
from service.reports.drawing import COLOURS, Chart, Trace, chart_of, colour, line

MAX_CLASSES = 30
"""A larger confusion matrix is not legible; the table lists its most frequent confusions."""
NOTHING = "(nothing)"


class _Diagnosed(NamedTuple):
    """Holds a job of the report that has a diagnosis."""

    job: JobReport
    diagnosis: Diagnosis
    colour: str


class ErrorRow(NamedTuple):
    """A row of the table of errors."""

    kind: ErrorKind
    by_job: dict[str, tuple[int, float | None]]
    """Number of errors and gain in AP50, by job id."""


def diagnosis_charts(report: Report) -> list[Chart]:
    """Draw all charts that have data; none if no job of the report has a diagnosis."""
    jobs = [
        _Diagnosed(job, job.diagnosis, colour(index))
        for index, job in enumerate(report.jobs)
        if job.diagnosis is not None
    ]
    found = [_gains(jobs), _precision(jobs), _counts(jobs), _calibration(jobs), *map(_matrix, jobs)]
    return [chart for chart in found if chart is not None]


def error_rows(report: Report) -> list[ErrorRow]:
    """Return the errors of all jobs that have a diagnosis, kind by kind."""
    rows: dict[ErrorKind, ErrorRow] = {}
    for job in report.jobs:
        for each in job.diagnosis.errors if job.diagnosis is not None else ():
            row = rows.setdefault(each.kind, ErrorRow(each.kind, {}))
            row.by_job[job.job_id] = (each.count, each.gain)
    return list(rows.values())


def frequent_confusions(job: JobReport, most: int = 5) -> list[tuple[str, str, int]]:
    """Return (true class, found class, number) of the most frequent confusions between two classes."""
    cells = job.diagnosis.confusion.cells if job.diagnosis is not None else []
    between = [(each.true, each.found, each.count) for each in cells if each.true != each.found]
    return [(true, found, count) for true, found, count in between if true is not None and found is not None][:most]


def _gains(jobs: Sequence[_Diagnosed]) -> Chart | None:
    traces = [
        _bar(each, [error.kind for error in each.diagnosis.errors], [error.gain for error in each.diagnosis.errors])
        for each in jobs
    ]
    caption = "By how much AP50 would rise if a detector made no errors of this kind (dAP of TIDE)."
    return chart_of("errors", "What each kind of error costs", caption, traces, x="", y="AP50", y_from_zero=True)


def _precision(jobs: Sequence[_Diagnosed]) -> Chart | None:
    traces = []
    for each in jobs:
        for curve, dash in zip(each.diagnosis.curves, ("solid", "dash", "dot"), strict=False):
            name = f"{each.job.name}, {'mean' if curve.iou is None else f'IoU {curve.iou:g}'}"
            points = [(index / (len(curve.precision) - 1), value) for index, value in enumerate(curve.precision)]
            # One entry of the legend for each job: nine would take half of the chart.
            shown = {"legendgroup": each.job.name, "showlegend": dash == "solid"}
            traces.append(line(name, points, each.colour, dash=dash) | shown)
    caption = (
        "Mean over classes: solid at IoU 0.5, dashed at 0.75, dotted over 0.50 to 0.95. AP is the mean of the dotted "
        "line, AP50 that of the solid one."
    )
    return chart_of("precision", "Precision over recall", caption, traces, x="recall", y="precision", y_from_zero=True)


def _counts(jobs: Sequence[_Diagnosed]) -> Chart | None:
    traces = [
        _bar(
            each,
            [_group_name(group) for group in each.diagnosis.by_count if group.ap is not None],
            [group.ap for group in each.diagnosis.by_count if group.ap is not None],
            customdata=[group.num_images for group in each.diagnosis.by_count if group.ap is not None],
            hovertemplate="%{x} objects: AP %{y:.3f} on %{customdata} images<extra>%{fullData.name}</extra>",
        )
        for each in jobs
    ]
    caption = "AP on the images with so many objects. The pointer shows the number of images."
    title = "AP by objects per image"
    return _as_names(chart_of("by-count", title, caption, traces, x="objects", y="AP", y_from_zero=True))


def _calibration(jobs: Sequence[_Diagnosed]) -> Chart | None:
    traces = [
        line(_calibration_name(each), _points(each.diagnosis.calibration), each.colour, mode="lines+markers")
        for each in jobs
        if each.diagnosis.calibration.error is not None
    ]
    if traces:
        traces.append(line("score = precision", [(0, 0), (1, 1)], COLOURS[-1], dash="dot"))
    caption = (
        "Fraction of detections that are right at IoU 0.5, over their score. On the dotted line a score is a "
        "probability; below it the detector is too sure. ECE is the mean distance."
    )
    return chart_of("calibration", "Calibration", caption, traces, x="score", y="precision", y_from_zero=True)


def _matrix(each: _Diagnosed) -> Chart | None:
    """Draw the confusion matrix of one job; each row as fractions of the true boxes of its class."""
    found = each.diagnosis.confusion
    names = list(dict.fromkeys(name for cell in found.cells for name in (cell.true, cell.found) if name is not None))
    if not names or len(names) > MAX_CLASSES:
        return None
    counts = _count_rows(found, [*names, None])
    trace: Trace = {
        "type": "heatmap",
        "x": [*names, NOTHING],
        "y": [*names, NOTHING],
        "z": [[count / max(1, sum(row)) for count in row] for row in counts],
        "customdata": counts,
        "zmin": 0,
        "zmax": 1,
        "colorscale": [[0, "#ffffff"], [1, COLOURS[0]]],
        "hovertemplate": "%{y} found as %{x}: %{customdata} (%{z:.0%} of the row)<extra></extra>",
    }
    caption = (
        f"Rows are true classes, columns what was found with a score of at least {found.min_score:g}; the last row "
        "are false alarms, the last column missed objects. The colour is the share of the row."
    )
    chart = chart_of(
        f"confusion-{each.job.job_id}",
        f"Confusions of {each.job.name}",
        caption,
        [trace],
        x="found",
        y="true",
        height_px=200 + 22 * len(names),
    )
    if chart is not None:
        chart.layout["yaxis"] |= {"autorange": "reversed", "type": "category"}
        chart.layout["xaxis"] |= {"type": "category"}
    return chart


def _count_rows(found: Confusion, names: Sequence[str | None]) -> list[list[int]]:
    counts = {(cell.true, cell.found): cell.count for cell in found.cells}
    return [[counts.get((true, other), 0) for other in names] for true in names]


def _bar(each: _Diagnosed, x: Sequence[str], y: Sequence[float | None], **more: object) -> Trace:
    return {"type": "bar", "name": each.job.name, "x": x, "y": y, "marker": {"color": each.colour}} | more


def _as_names(chart: Chart | None) -> Chart | None:
    """Show each group at its own place, also one whose name is a number."""
    if chart is not None:
        chart.layout["xaxis"]["type"] = "category"
    return chart


def _group_name(group: CountGroup) -> str:
    if group.most is None:
        return f"{group.fewest} or more"
    return str(group.fewest) if group.most == group.fewest else f"{group.fewest} to {group.most}"


def _calibration_name(each: _Diagnosed) -> str:
    return f"{each.job.name}, ECE {each.diagnosis.calibration.error:.3f}"


def _points(of: Calibration) -> list[tuple[float, float | None]]:
    return [(each.score, each.precision) for each in of.bins if each.score is not None]
