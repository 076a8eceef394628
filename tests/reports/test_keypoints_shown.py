"""Keypoint AP is shown wherever mask AP is shown, but only if there are keypoints."""

import csv
import html
import io
import re

import pytest
from recorded_jobs import STUDENT, Recorded, demo_jobs, recorded, report_on, train_spec
from rich.console import Console

from fgd_core.console import _table
from fgd_core.spec.event_state import status_before_events
from fgd_core.spec.events import Evaluated, StoredEvent
from fgd_core.spec.results import PART_METRICS, ClassScore, KeypointScores, Scores
from service.client.commands.report import class_table, comparison_table
from service.client.live import EventLines
from service.jobs.metric_text import metric_name
from service.reports.csv import render_csv
from service.reports.figures import charts
from service.reports.html import render_html

SIGMAS = "0.05 for each of 5 keypoints"


def with_keypoints(found: Scores) -> Scores:
    """Return the scores with a keypoint AP of half the box AP."""
    assert found.ap is not None
    per_class = {
        name: ClassScore(ap=(one.ap or 0) / 2, ap50=one.ap50, num_boxes=one.num_boxes)
        for name, one in found.per_class.items()
    }
    of_keypoints = KeypointScores(
        ap=found.ap / 2,
        ap50=found.ap * 0.7,
        ap75=None,
        ap_medium=None,
        ap_large=None,
        per_class=per_class,
        sigmas=SIGMAS,
    )
    return found.model_copy(update={"keypoints": of_keypoints})


@pytest.fixture
def job() -> Recorded:
    """A job of AP 0.6 and keypoint AP 0.3."""
    plain = recorded("m1", train_spec("keyed", STUDENT), ap=0.6)
    assert plain.job.result is not None
    result = plain.job.result.model_copy(update={"scores": with_keypoints(plain.job.result.scores)})
    return plain._replace(
        job=plain.job.model_copy(update={"result": result}), events=[_keyed(event) for event in plain.events]
    )


def _keyed(event: StoredEvent) -> StoredEvent:
    if event.kind != "evaluated":
        return event
    reported = Evaluated.model_validate(event.data)
    data = reported.model_copy(update={"scores": with_keypoints(reported.scores)}).model_dump(mode="json")
    return event.model_copy(update={"data": data})


def _text(table: object) -> str:
    console = Console(file=io.StringIO(), width=160)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


class TestTerminal:
    def test_keypoints_have_a_column_next_to_boxes(self, job: Recorded) -> None:
        heading, row = _text(comparison_table(report_on(job), width=160)).splitlines()
        assert heading.index("AP50") < heading.index("keypoint AP") < heading.index("keypoint AP50")
        assert "0.300" in row and "0.420" in row

    def test_each_class_has_its_keypoint_ap(self, job: Recorded) -> None:
        heading, first, *_ = _text(class_table(report_on(job))).splitlines()
        assert heading.split()[-1] == "keypoints"
        assert first.split() == ["circle", "90", "0.480", "0.240"]

    def test_keypoint_ap_is_printed_after_each_evaluation(self, job: Recorded) -> None:
        standing = status_before_events(job.job)
        said, lines = [], EventLines()
        for event in job.events:
            standing.update(event)
            said.append(lines.line(standing, event) or "")
        assert any("AP 0.600" in each and "keypoints 0.300" in each for each in said)

    def test_the_result_of_a_run_has_a_row_and_names_the_sigmas(self, job: Recorded) -> None:
        assert job.job.result is not None
        text = _text(_table(job.job.result))
        (row,) = [line for line in text.splitlines() if "keypoint AP" in line]
        assert "0.300" in row and "0.240" in row
        assert f"sigmas of OKS: {SIGMAS}" in " ".join(text.split())

    def test_without_keypoints_nothing_mentions_them(self) -> None:
        assert "keypoint" not in _text(comparison_table(report_on(*demo_jobs()), width=160))
        assert "keypoint" not in _text(class_table(report_on(*demo_jobs())))


class TestPage:
    def test_both_tables_have_keypoints_and_the_sigmas_are_named(self, job: Recorded) -> None:
        page = render_html(report_on(job), {})
        text = re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", page[: page.index('id="figures"')])))
        assert "keypoint AP keypoint AP50" in text
        assert "keypoints circle" in text and "circle 90 0.480 0.240" in text
        assert f"sigmas of OKS: {SIGMAS}." in text

    def test_without_keypoints_the_page_does_not_mention_them(self) -> None:
        page, _, _ = render_html(report_on(*demo_jobs()), {}).partition('id="figures"')
        assert "keypoint AP" not in page and "OKS" not in page

    def test_keypoints_have_a_curve_next_to_boxes(self, job: Recorded) -> None:
        (chart,) = [chart for chart in charts(report_on(job)) if chart.name == "ap-over-epochs"]
        boxes, keypoints = chart.figure["data"]
        assert keypoints["name"] == "keyed, keypoints"
        assert keypoints["y"] == pytest.approx([value / 2 for value in boxes["y"]])
        assert "AP of keypoints is dotted" in chart.caption


def test_csv_has_columns_of_keypoints_if_a_job_has_keypoints(job: Recorded) -> None:
    plain = recorded("b", train_spec("boxes", STUDENT))
    first, second = csv.DictReader(io.StringIO(render_csv(report_on(job, plain))))
    assert (float(first["keypoint_ap"]), float(first["keypoint_ap50"])) == (0.3, pytest.approx(0.42))
    assert float(first["keypoint_ap/circle"]) == pytest.approx(0.24)
    assert first["keypoint_sigmas"] == SIGMAS
    assert second["keypoint_ap"] == second["keypoint_sigmas"] == ""
    assert "keypoint" not in render_csv(report_on(plain))


def test_objectives_have_readable_names() -> None:
    names = [metric_name(metric) for metric, place in PART_METRICS.items() if place.part == "keypoints"]
    assert names == ["keypoint AP", "keypoint AP50", "keypoint AP75", "keypoint AP medium", "keypoint AP large"]
