"""The page of a report: one file, drawn by a real browser, without requests to the network."""

import html
import io
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects
import pytest
from PIL import Image

from fgd_core.spec.exports import ExportedFile
from fgd_core.spec.methods import AnyMethod, CrossKd, Drkd, Fgd, Ikd, Logit, Mixed, Tadr
from fgd_core.spec.report import Report
from fgd_core.spec.results import ErrorReport
from fgd_core.spec.worst_images import DETECTIONS, WORST_IMAGES
from service.reports.diagnosis_figures import diagnosis_charts, error_rows
from service.reports.distillation_ratios import ratio_rows
from service.reports.figures import charts
from service.reports.html import render_html
from service.reports.worst_images import gallery, wanted_files
from tests.reports.browser import CHROMIUM, dumped, with_script
from tests.reports.recorded_jobs import (
    BEGIN,
    STUDENT,
    Recorded,
    demo_jobs,
    distill_spec,
    recorded,
    report_on,
    train_spec,
    view,
    worst_images,
)

PICTURE = '<img alt="Validation images'
EVIL = "</script><img src=x onerror=document.title='broken'>"

# Records every request of the page, and every request that the page's security policy blocked.
REQUEST_RECORDER = """
const root = document.documentElement;
const asked = (name) => { root.dataset.asked = (root.dataset.asked || "") + name; };
asked("");
document.addEventListener("securitypolicyviolation", (event) => asked(`refused ${event.blockedURI} `));
new PerformanceObserver((list) => list.getEntries().filter((entry) => !/^(data|blob):/.test(entry.name))
  .forEach((entry) => asked(`${entry.name} `))).observe({ type: "resource", buffered: true });
"""


def a_png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (200, 30, 30)).save(file, "PNG")
    return file.getvalue()


def an_evil_job() -> Recorded:
    """Return a job with hostile text in every field that a user or a run can set."""
    job = recorded("e1", train_spec("evil", STUDENT))
    error = ErrorReport(code="data", message=EVIL, traceback=EVIL)
    broken = view("e1", job.job.spec, job.events, state="failed", error=error)
    return job._replace(job=broken.model_copy(update={"name": EVIL}))


def distilled(method: AnyMethod, values: Mapping[str, float]) -> Report:
    """Return the report on a job that distils with a method and has the values in each epoch."""
    spec = distill_spec("distilled student", "t1", epochs=2).model_copy(update={"method": method})
    (job,) = report_on(recorded("d1", spec)).jobs
    epochs = [at.model_copy(update={"values": dict(values)}) for at in job.epochs]
    return Report(generated_at=BEGIN, jobs=[job.model_copy(update={"epochs": epochs})])


def legend(chart: str, report: Report) -> list[str]:
    figures = {each.name: each.figure for each in charts(report)}
    return [trace["name"] for trace in figures[chart]["data"]]


class TestPage:
    def test_it_loads_nothing_from_the_network(self) -> None:
        page = render_html(report_on(*demo_jobs()), {"t1": a_png()})
        assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!data:)""", page)
        assert "default-src 'none'" in page
        assert "unsafe" not in page.partition("<title>")[0]

    def test_every_section_has_its_facts(self) -> None:
        page = render_html(report_on(*demo_jobs()), {"d1": a_png()})
        text = html.unescape(re.sub(r"<[^>]+>", " ", page[: page.index('id="figures"')]))
        for fact in (
            "0.120 above plain student",
            "2.80 × teacher",
            "210 of 210",
            "`model_ema` (averaged)",
            "left 234 keys of `model`: the weights before averaging",
            "5 × box without area, dropped",
            "its checkpoint records 0.690",
            "from FasterRcnn into RetinaNet; inherits neck: 9 of 16 keys",
            "yes, by a 1x1 convolution",
            "no: it only subsamples the level below",
            "class 'ring' has fewer than 40 boxes",
            "scale: 0.05",
        ):
            assert fact in text, fact
        assert page.count(PICTURE) == 1

    def test_a_disturbed_speed_is_marked(self) -> None:
        job = recorded("a", train_spec("a", STUDENT, epochs=1), disturbed_by="other runs worked on the device")
        mark = '<small title="other runs worked on the device">not comparable</small>'
        assert mark in render_html(report_on(job), {})

    def test_it_lists_the_files_of_an_export_and_how_they_compare(self) -> None:
        plain = report_on(recorded("a", train_spec("a", STUDENT, epochs=1)))
        exact = ExportedFile(
            name="detector.onnx",
            format="onnx",
            precision="float32",
            size_bytes=2_000_000,
            sha256="ab" * 32,
            took_s=1.0,
            num_checked=8,
            max_difference=2e-6,
        )
        found = {"max_difference": None, "scores": plain.jobs[0].evaluations[-1].scores, "ap_change": -0.012}
        exports = [exact, exact.model_copy(update={"name": "detector.int8.onnx", **found})]
        page = render_html(Report(generated_at=BEGIN, jobs=[plain.jobs[0].model_copy(update={"exports": exports})]), {})
        assert "differs by at most 2e-06 on 8 images" in page and ", -1.2 points" in page
        assert "Exported files" not in render_html(plain, {})

    def test_text_of_users_and_runs_is_escaped(self) -> None:
        page = render_html(report_on(an_evil_job()), {})
        assert EVIL not in page
        assert html.escape(EVIL, quote=False).replace("'", "&#39;") in page

    def test_a_job_without_results_has_a_page(self) -> None:
        job = recorded("a", train_spec("a", STUDENT))
        queued = job._replace(job=view("a", job.job.spec, [], state="queued"), events=[], curves={})
        page = render_html(report_on(queued), {})
        assert "queued" in page
        assert '<div class="charts">' not in page


class TestFigures:
    def test_each_figure_is_valid_for_plotly(self) -> None:
        drawn = charts(report_on(*demo_jobs()))
        for chart in [*drawn, *diagnosis_charts(report_on(*demo_jobs()))]:
            plotly.graph_objects.Figure(chart.figure)
        assert [chart.name for chart in drawn] == [
            "ap-over-epochs",
            "loss-over-epochs",
            "per-class",
            "ap-against-speed",
            "terms-d1",
            "places-d1",
            "ratios-d1",
        ]

    def test_terms_and_places_have_separate_figures(self) -> None:
        assert legend("places-d1", report_on(*demo_jobs())) == ["fgd: P3", "fgd: P4", "fgd: P5", "fgd: P6", "fgd: P7"]
        # The scale of the job is 0.05.
        assert legend("terms-d1", report_on(*demo_jobs())) == [
            "fgd: attention (weight 2.5e-05)",
            "fgd: background (weight 2.5e-05)",
            "fgd: foreground (weight 5e-05)",
            "fgd: relation (weight 2.5e-07)",
            "detector: box",
            "detector: classification",
        ]

    def test_the_head_and_regions_are_places_and_no_terms(self) -> None:
        values = {"distill/regions": 0.2, "distill/region_classes": 0.1, "distill/P3": 0.3}
        job = distilled(Tadr(classes=10), values)
        assert legend("places-d1", job) == ["tadr: P3", "tadr: regions"]
        assert "tadr: region classes (weight 10)" in legend("terms-d1", job)
        job = distilled(CrossKd(), {"distill/head": 0.2, "distill/classes": 0.1})
        assert legend("places-d1", job) == ["crosskd: head"]

    def test_the_parts_of_a_mixture_have_their_names_and_methods(self) -> None:
        parts = {"focal": Fgd(), "outputs": Logit(scale=2, classes=3)}
        values = {"distill/focal/P3": 0.1, "distill/outputs/head": 0.2, "distill/outputs/classes": 0.3}
        job = distilled(Mixed(scale=0.5, parts=parts), values)
        assert legend("places-d1", job) == ["focal (fgd): P3", "outputs (logit): head"]
        assert "outputs (logit): classes (weight 3)" in legend("terms-d1", job)

    def test_a_method_around_another_one_names_both(self) -> None:
        values = {"distill/P3": 0.1, "distill/foreground": 0.2, "distill/adversarial": 0.3}
        job = distilled(Ikd(), values)
        assert legend("places-d1", job) == ["ikd: P3"]
        assert {"fgd: foreground (weight 0.001)", "ikd: adversarial (weight 1e-05)"} <= {*legend("terms-d1", job)}

    def test_a_term_without_a_weight_says_so(self) -> None:
        job = distilled(Drkd(), {"distill/teacher_norm": 0.1})
        assert "drkd: teacher norm (weight 0)" in legend("terms-d1", job)

    def test_the_methods_table_has_a_row_for_each_part(self) -> None:
        page = render_html(distilled(Mixed(), {}), {})
        assert "<h3>Methods</h3>" in page
        assert '<td class="left">pearson (pkd)</td><td>1</td><td class="left">pearson 10</td>' in page
        assert "<h3>Methods</h3>" not in render_html(report_on(demo_jobs()[0]), {})

    def test_figures_are_json_without_nan(self) -> None:
        for chart in charts(report_on(*demo_jobs())):
            json.dumps(chart.figure, allow_nan=False)


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine: the page cannot be opened")
class TestInBrowser:
    @pytest.fixture(scope="class")
    @classmethod
    def dom(cls, tmp_path_factory: pytest.TempPathFactory) -> str:
        """The page after its scripts have run."""
        folder = tmp_path_factory.mktemp("page")
        path = folder / "report.html"
        page = render_html(report_on(*demo_jobs(), an_evil_job()), {"t1": a_png()})
        path.write_text(with_script(page, REQUEST_RECORDER, before="<title>"))
        return dumped(path, folder)

    def test_the_page_requests_nothing_and_its_policy_blocks_nothing(self, dom: str) -> None:
        (asked,) = re.findall(r'<html[^>]* data-asked="([^"]*)"', dom)
        assert asked == ""

    def test_every_chart_is_drawn(self, dom: str) -> None:
        report = report_on(*demo_jobs(), an_evil_job())
        wanted = [chart.name for chart in (*charts(report), *diagnosis_charts(report))]
        assert re.findall(r'<fgd-figure id="([^"]+)"', dom) == wanted
        assert re.findall(r'<body[^>]* data-drawn="(\d+)"', dom) == [str(len(wanted))]

    def test_a_chart_that_is_not_in_view_is_not_drawn(self, tmp_path: Path) -> None:
        path = tmp_path / "report.html"
        path.write_text(render_html(report_on(*demo_jobs()), {}))
        found = re.search(r'<body[^>]* data-drawn="(\d+)"', dumped(path, tmp_path, height_px=900))
        assert 0 < int(found[1] if found else 0) < len(charts(report_on(*demo_jobs())))

    def test_hostile_text_does_not_run(self, dom: str) -> None:
        assert "<title>broken" not in dom
        assert "onerror" not in re.sub(r"&lt;.*?&gt;", "", dom[: dom.index('id="figures"')])

    def test_every_sample_image_is_shown(self, dom: str) -> None:
        assert len(re.findall(r'<img [^>]*src="data:image/png;base64,', dom)) == 1


class TestErrors:
    def test_kinds_of_error_are_listed_for_each_job_with_their_costs(self) -> None:
        report = report_on(*demo_jobs())
        page = render_html(report, {})
        for row in error_rows(report):
            assert f">{row.kind}</td>" in page
            for count, gain in row.by_job.values():
                assert f"<td>{count}</td><td>{gain:.3f}</td>" in page

    def test_the_charts_show_what_the_diagnosis_says(self) -> None:
        report = report_on(*demo_jobs())
        figures = {each.name: each for each in diagnosis_charts(report)}
        first = report.jobs[0].diagnosis
        assert first is not None
        assert figures["errors"].traces[0]["y"] == [each.gain for each in first.errors]
        assert figures["precision"].traces[0]["y"] == first.curves[0].precision
        matrix = figures["confusion-t1"].traces[0]
        row, column = matrix["y"].index("class 0"), matrix["x"].index("class 1")
        confused = next(each for each in first.confusion.cells if (each.true, each.found) == ("class 0", "class 1"))
        assert matrix["customdata"][row][column] == confused.count

    def test_a_report_of_an_older_version_has_no_such_section(self) -> None:
        job = recorded("t1", train_spec("old", STUDENT))
        page = render_html(
            report_on(job._replace(events=[each for each in job.events if each.kind != "diagnosed"])), {}
        )
        assert "<h2>Errors</h2>" not in page


def detections_on(image_id: int, fingerprint: str) -> bytes:
    """Return the file of a run that has found the only object of an image."""
    file = io.BytesIO()
    np.savez(
        file,
        version=np.array(1),  # without true boxes, which this page does not need
        fingerprint=np.array(fingerprint),
        class_names=np.array(["ring"]),
        image_ids=np.array([image_id]),
        starts=np.array([0, 1]),
        boxes=np.array([[10.0, 20.0, 50.0, 61.0]]),
        score=np.array([0.7]),
        label=np.array([0]),
        truth=np.array([0]),
        ignored=np.array([False]),
    )
    return file.getvalue()


class TestWorstImages:
    def test_student_teacher_and_another_job_are_side_by_side(self) -> None:
        teacher, plain, student = demo_jobs()
        report = report_on(student, plain, teacher)
        assert ("t1", DETECTIONS) in wanted_files(report)
        files = {
            ("d1", WORST_IMAGES): worst_images().model_dump_json().encode(),
            ("p1", DETECTIONS): detections_on(7, "here"),
            ("t1", DETECTIONS): detections_on(7, "here"),
        }
        shown = gallery(report, files)
        assert shown is not None
        (row,) = shown.rows
        # The teacher's own job is left out: the student's job has shown its teacher.
        assert [(panel.name, panel.counts) for panel in row.panels] == [
            ("distilled student", "1 wrong, 1 missed"),
            ("teacher", "1 right"),
            ("plain student", "1 right"),
        ]
        page = render_html(report, {}, files)
        assert page.count("data:image/jpeg;base64,/9j/") == 1
        assert "<title>ring, missed</title>" in page

    def test_the_distilled_student_is_shown_wherever_it_stands_in_the_report(self) -> None:
        files = {("d1", WORST_IMAGES): worst_images().model_dump_json().encode()}
        shown = gallery(report_on(*demo_jobs()), files)
        assert shown is not None
        assert shown.job.job_id == "d1"

    def test_a_job_on_other_data_is_not_shown_there(self) -> None:
        _, plain, student = demo_jobs()
        files = {
            ("d1", WORST_IMAGES): worst_images().model_dump_json().encode(),
            ("p1", DETECTIONS): detections_on(7, "elsewhere"),
        }
        shown = gallery(report_on(student, plain), files)
        assert shown is not None
        assert len(shown.rows[0].panels) == 2

    @pytest.mark.parametrize("content", [b"{}", b"no JSON", None])
    def test_without_a_readable_file_the_section_is_missing(self, content: bytes | None) -> None:
        files = {("d1", WORST_IMAGES): content} if content is not None else {}
        assert "Worst images" not in render_html(report_on(demo_jobs()[2]), {}, files)

    def test_names_of_files_are_escaped(self) -> None:
        files = {("d1", WORST_IMAGES): worst_images(EVIL).model_dump_json().encode()}
        assert EVIL not in render_html(report_on(demo_jobs()[2]), {}, files)


class TestRatios:
    def test_each_part_is_weighted_and_divided_by_the_task_loss(self) -> None:
        values = {
            "task/box": 1.0,
            "task/class": 3.0,
            "distill/total": 6.0,
            "distill/P3": 4.0,
            "distill/P4": 2.0,
            "distill/foreground": 10.0,
        }
        (job,) = distilled(Fgd(alpha=0.5, scale=0.4), values).jobs
        rows = {(row.what, row.label.partition(" (")[0]): row for row in ratio_rows(job)}
        assert rows["total", "all of the distillation"].last_ratio == 1.5
        assert rows["place", "fgd: P3"].last_ratio == 1.0
        term = rows["term", "fgd: foreground"]
        assert (term.last_loss, term.last_ratio) == (pytest.approx(2.0), pytest.approx(0.5))

    @pytest.mark.parametrize(("total", "is_unusual"), [(0.2, True), (0.8, False), (8.0, False), (9.0, True)])
    def test_a_distillation_that_is_too_weak_or_too_strong_is_marked(self, total: float, is_unusual: bool) -> None:
        (job,) = distilled(Fgd(), {"task/box": 4.0, "distill/total": total}).jobs
        (row,) = ratio_rows(job)
        assert row.is_unusual is is_unusual

    @pytest.mark.parametrize("scale", [1.0, 0.4, "auto"])
    def test_the_scale_of_an_epoch_weighs_terms_but_not_weighted_places(self, scale: Any) -> None:
        """It contains the method's own scale."""
        values = {"task/box": 1.0, "distill/total": 1.0, "distill/P3": 1.0, "distill/foreground": 4.0}
        (job,) = distilled(Fgd(alpha=0.5, scale=scale), values | {"distill/scale": 0.5}).jobs
        found = {row.what: row.last_loss for row in ratio_rows(job)}
        assert found == {"total": 1.0, "place": 1.0, "term": pytest.approx(1.0)}

    def test_a_job_without_distillation_has_no_ratios(self) -> None:
        (job,) = report_on(recorded("t1", train_spec("plain", STUDENT))).jobs
        assert ratio_rows(job) == []
        assert "relative to the task" not in render_html(Report(generated_at=BEGIN, jobs=[job]), {})
