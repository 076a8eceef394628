"""Figures of a study: what each arm brings, with its interval."""

from collections.abc import Iterator

from fgd_core.spec.comparison import ClassRow
from fgd_core.spec.report import Report
from fgd_core.spec.study_findings.gain import Contrast, Gain
from fgd_core.spec.study_findings.left_over import LeftOver
from fgd_core.spec.study_report import Findings
from service.jobs.study_tables import setting_name
from service.reports.drawing import Chart
from service.reports.forest import Row, forest

_X = "difference in AP"


def study_charts(report: Report) -> list[Chart]:
    """Draw the differences of a study between its arms, and those of the first comparison for each class."""
    return [
        chart
        for job in report.jobs
        if job.study is not None
        for chart in _charts(job.study.findings, name=f"study-{job.job_id}")
    ]


def _charts(found: Findings, *, name: str) -> Iterator[Chart]:
    if isinstance(found, Gain):
        yield from _gain(found, name=name)
        return
    caption = "Lines are 95 % intervals, not adjusted for their number; colours show adjusted p."
    if isinstance(found, LeftOver):
        title = "AP per class, distilled against plain"
        rows = [Row(row.name, row.change, _boxes(row)) for row in found.classes if row.change is not None]
    else:
        title = "The gain in each setting"
        rows = [
            Row(setting_name(row), row.change, f"{row.plain:.3f} to {row.distilled:.3f}")
            for row in found.gains
            if row.change is not None
        ]
    yield from filter(None, [forest(name, title, caption, rows, x=_X)])


def _gain(found: Gain, *, name: str) -> Iterator[Chart]:
    whole = [
        Row(f"{each.first} against {each.second}", each.change, _seeds(each, found))
        for each in found.contrasts
        if each.change is not None
    ]
    caption = f"Lines are {found.confidence:.0%} intervals, not adjusted for their number; colours show adjusted p."
    yield from filter(None, [forest(name, "What each brings", caption, whole, x=_X)])
    for place, each in enumerate(found.contrasts):
        rows = [Row(row.name, row.change, _boxes(row)) for row in each.classes if row.change is not None]
        title = f"AP per class, {each.first} against {each.second}"
        yield from filter(None, [forest(f"{name}-{place}", title, caption, rows, x=_X)])


def _seeds(contrast: Contrast, found: Gain) -> str:
    seeds = {arm.arm: len(arm.seeds) for arm in found.arms}
    return f"{seeds[contrast.first]} and {seeds[contrast.second]} seeds"


def _boxes(row: ClassRow) -> str:
    return f"{row.num_boxes} boxes"
