"""Mask AP is shown wherever AP is shown, but only if there are masks."""

import csv
import html
import io
import re

import pytest
from recorded_jobs import STUDENT, Recorded, demo_jobs, recorded, report_on, scores, train_spec
from rich.console import Console

from fgd_core.spec.event_state import status_before_events
from fgd_core.spec.events import Evaluated, StoredEvent
from fgd_core.spec.results import PART_METRICS, ClassScore, MaskScores, Scores
from service.client.commands.report import class_table, comparison_table
from service.client.live import EventLines
from service.jobs.metric_text import metric_name
from service.reports.csv import render_csv
from service.reports.figures import charts
from service.reports.html import render_html


def with_masks(found: Scores) -> Scores:
    """Return the scores with a mask AP of half the box AP."""
    assert found.ap is not None
    per_class = {
        name: ClassScore(ap=(one.ap or 0) / 2, ap50=one.ap50, num_boxes=one.num_boxes)
        for name, one in found.per_class.items()
    }
    of_masks = MaskScores(
        ap=found.ap / 2,
        ap50=found.ap * 0.7,
        ap75=None,
        ap_small=None,
        ap_medium=None,
        ap_large=None,
        per_class=per_class,
    )
    return found.model_copy(update={"masks": of_masks})


@pytest.fixture
def job() -> Recorded:
    """A job of AP 0.6 and mask AP 0.3."""
    plain = recorded("m1", train_spec("with masks", STUDENT), ap=0.6)
    assert plain.job.result is not None
    result = plain.job.result.model_copy(update={"scores": with_masks(plain.job.result.scores)})
    return plain._replace(
        job=plain.job.model_copy(update={"result": result}), events=[_masked(event) for event in plain.events]
    )


def _masked(event: StoredEvent) -> StoredEvent:
    if event.kind != "evaluated":
        return event
    reported = Evaluated.model_validate(event.data)
    data = reported.model_copy(update={"scores": with_masks(reported.scores)}).model_dump(mode="json")
    return event.model_copy(update={"data": data})


def _text(table: object) -> str:
    console = Console(file=io.StringIO(), width=160)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


class TestTerminal:
    def test_masks_have_a_column_next_to_boxes(self, job: Recorded) -> None:
        heading, row = _text(comparison_table(report_on(job), width=160)).splitlines()
        assert heading.index("AP50") < heading.index("mask AP") < heading.index("mask AP50")
        assert "0.300" in row
        assert "0.420" in row

    def test_each_class_has_its_mask_ap(self, job: Recorded) -> None:
        first = _text(class_table(report_on(job))).splitlines()[1]
        assert first.split() == ["circle", "90", "0.480", "0.240"]

    def test_without_masks_there_is_no_column(self) -> None:
        assert "mask" not in _text(comparison_table(report_on(*demo_jobs()), width=160))
        assert "mask" not in _text(class_table(report_on(*demo_jobs())))

    def test_mask_ap_is_printed_after_each_evaluation(self, job: Recorded) -> None:
        standing = status_before_events(job.job)
        said, lines = [], EventLines()
        for event in job.events:
            standing.update(event)
            said.append(lines.line(standing, event) or "")
        assert any("AP 0.600" in each and "masks 0.300" in each for each in said)


class TestPage:
    def test_both_tables_have_masks(self, job: Recorded) -> None:
        page = render_html(report_on(job), {})
        text = re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", page[: page.index('id="figures"')])))
        assert "mask AP mask AP50" in text
        assert "0.300" in text
        assert "masks circle" in text
        assert "circle 90 0.480 0.240" in text

    def test_without_masks_the_page_does_not_mention_them(self) -> None:
        page = render_html(report_on(*demo_jobs()), {})
        assert "mask AP" not in page
        assert "its masks" not in page

    def test_masks_have_a_curve_next_to_boxes(self, job: Recorded) -> None:
        (chart,) = [chart for chart in charts(report_on(job)) if chart.name == "ap-over-epochs"]
        boxes, masks = chart.figure["data"]
        assert masks["name"] == "with masks, masks"
        assert masks["y"] == pytest.approx([value / 2 for value in boxes["y"]])
        assert masks["line"]["color"] == boxes["line"]["color"]
        assert "dotted" in chart.caption


def test_csv_has_columns_of_masks_if_a_job_has_masks(job: Recorded) -> None:
    plain = recorded("b", train_spec("boxes", STUDENT))
    first, second = csv.DictReader(io.StringIO(render_csv(report_on(job, plain))))
    assert (float(first["mask_ap"]), float(first["mask_ap50"])) == (0.3, pytest.approx(0.42))
    assert first["mask_ap75"] == ""
    assert float(first["mask_ap/circle"]) == pytest.approx(0.24)
    assert second["mask_ap"] == second["mask_ap/circle"] == ""
    assert "mask_ap" not in render_csv(report_on(plain))


def test_json_has_masks(job: Recorded) -> None:
    (reported,) = report_on(job).model_dump(mode="json")["jobs"]
    assert reported["result"]["scores"]["masks"]["ap"] == 0.3
    assert report_on(recorded("b", train_spec("boxes", STUDENT))).jobs[0].result is not None
    assert scores(0.5).masks is None


def test_objectives_have_readable_names() -> None:
    names = [metric_name(metric) for metric, place in PART_METRICS.items() if place.part == "masks"]
    assert names == ["mask AP", "mask AP50", "mask AP75", "mask AP small", "mask AP medium", "mask AP large"]
