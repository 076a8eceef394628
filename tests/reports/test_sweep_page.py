"""The page of a report on a sweep: a real browser draws every trial, without requests to the network."""

import html
import json
import re
from pathlib import Path

import plotly.graph_objects
import pytest
from PIL import Image

from fgd_core.spec.results import ErrorReport, RunResult, Speed
from fgd_core.spec.search import Objective, PopulationBased, RunAll
from fgd_core.spec.sweep_report import SweepReport
from service.reports.sweep_html import render_sweep_html, sweep_charts
from tests.reports.browser import CHROMIUM, Opened, open_page, screenshot
from tests.reports.recorded_jobs import scores
from tests.reports.recorded_sweeps import NUM_SEARCHED, SPACE, Study, asha_study, sweep_report

EVIL = "</script><img src=x onerror=document.title='broken'>"
CHARTS = ["curves", "cost", "parallel", "importance", "contour", "slices", "rungs"]
NUM_TRIALS = 2 + NUM_SEARCHED + 2 * 4

in_a_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine: the page cannot be opened")

# Sorts by best AP, twice; then searches for stopped trials.
USE_THE_TABLE = """() => {
  const first = () => document.querySelector("#trials tbody tr:not([hidden])").dataset.trial;
  const [button] = [...document.querySelectorAll("#trials .sorts")].filter((each) => each.textContent === "best AP");
  button.click();
  const lowest = first();
  button.click();
  const highest = first();
  const find = document.getElementById("find-trial");
  find.value = "stopped";
  find.dispatchEvent(new Event("input"));
  const rows = [...document.querySelectorAll("#trials tbody tr:not([hidden])")];
  const sorted = button.parentElement.getAttribute("aria-sort");
  return { lowest, highest, sorted, stopped: rows.map((row) => row.dataset.trial) };
}"""


def two_objectives(disturbed_by: str | None = None) -> SweepReport:
    study = Study(epochs=1)
    for trial, (ap, speed) in enumerate([(0.3, 10.0), (0.2, 30.0), (0.1, 20.0), (0.4, 5.0)]):
        study.start(trial, {"method.scale": 0.1 * (trial + 1)})
        study.report(trial, 1, ap, None)
        measured = Speed(
            latency_ms=1000 / speed,
            spread=0.01,
            repetitions=5,
            load_average=1.0,
            machine="here",
            disturbed_by=disturbed_by,
        )
        result = RunResult(
            scores=scores(ap), num_parameters=1, images_per_s=speed, speed=measured, num_images=9, device="cpu"
        )
        study.end(trial, "completed", 1, result=result, objectives=[ap, speed])
    objectives = (Objective(), Objective(metric="images_per_s"))
    return sweep_report(study, objectives=objectives, scheduler=RunAll())


def text_of(page: str) -> str:
    return html.unescape(re.sub(r"<[^>]+>", " ", page[: page.index('id="figures"')]))


class TestPage:
    def test_it_recommends_values_with_their_certainty(self) -> None:
        text = text_of(render_sweep_html(sweep_report(asha_study())))
        for fact in (
            "Use the values of trial 12",
            "over 2 fresh seeds",
            "over the student without distillation but with the same inheritance (trial 0)",
            "over the default weights (trial 1)",
            "The runner-up, trial 10,",
            "1 trial did not finish (out_of_memory: 5)",
            "fewer than 40 (10 for each) the order may be chance",
            "name: weights for shapes trial 12",
        ):
            assert fact in text, fact

    def test_text_of_users_and_runs_is_escaped(self) -> None:
        study = Study(epochs=1)
        study.run(0, [0.1], {"method.mask": EVIL})
        study.start(1)
        study.end(1, "failed", 0, error=ErrorReport(code="data", message=EVIL))
        assert EVIL not in render_sweep_html(sweep_report(study))

    def test_a_sweep_without_trials_has_a_page(self) -> None:
        page = render_sweep_html(sweep_report(Study(), state="running"))
        assert "no trial has started" in page
        assert '<div class="charts">' not in page

    def test_a_sweep_with_one_new_trial_has_a_page(self) -> None:
        study = Study()
        study.start(0, {"method.scale": 0.1})
        assert "1 trial running, none evaluated" in render_sweep_html(sweep_report(study, state="running"))
        study.report(0, 1, 0.2)
        text = text_of(render_sweep_html(sweep_report(study, state="running")))
        assert "So far: Use the values of trial 0" in text
        assert "One seed says nothing about noise" in text

    def test_a_sweep_of_failed_trials_has_a_page(self) -> None:
        study = Study()
        for trial in range(3):
            study.start(trial)
            study.end(trial, "failed", 0, error=ErrorReport(code="out_of_memory", message="too big"))
        text = text_of(render_sweep_html(sweep_report(study, state="failed")))
        assert "No result: none of 3 trials reached a value" in text
        assert "3 trials did not finish (out_of_memory: 0, 1, 2): too big." in text

    def test_it_warns_if_the_winning_values_changed_during_training(self) -> None:
        study = Study(epochs=2)
        study.start(0, {"method.scale": 1.0})
        study.report(0, 1, 0.1)
        study.end(0, "paused", 1)
        study.start(0, {"method.scale": 0.5}, segment=1, goes_on_from=(0, 0), from_epoch=1)
        study.report(0, 2, 0.2, segment=1)
        study.end(0, "completed", 2, segment=1)
        report = sweep_report(study, scheduler=PopulationBased())
        assert report.recommendation is not None
        assert report.recommendation.spec.model_dump()["method"]["scale"] == 0.5
        assert "Its values changed while it trained" in text_of(render_sweep_html(report))

    def test_it_advises_against_distillation_if_the_plain_student_won(self) -> None:
        study = Study(epochs=1)
        study.run(0, [0.5], {"method.scale": 0}, origin="plain")
        study.run(1, [0.3], {"method.scale": 1.0})
        text = text_of(render_sweep_html(sweep_report(study)))
        assert "nothing beat the student without distillation" in text
        assert "It is not shown that the others are worse" in text

    def test_while_a_sweep_runs_it_compares_at_equal_epochs_only(self) -> None:
        """The plain student has finished three epochs, the trial its first: neither is the best yet."""
        study = Study(epochs=3)
        study.run(0, [0.10, 0.20, 0.30], {"method.scale": 0}, origin="plain")
        study.start(1, {"method.scale": 1.0})
        text = text_of(render_sweep_html(sweep_report(study, state="running")))
        assert "no trial of the search can be compared with it yet" in text
        study.report(1, 1, 0.05)
        text = text_of(render_sweep_html(sweep_report(study, state="running")))
        assert (
            "So far: nothing is ahead of the student without distillation, AP 0.100 with one seed, all compared" in text
        )
        study.report(1, 2, 0.25)
        text = text_of(render_sweep_html(sweep_report(study, state="running")))
        assert "So far: Use the values of trial 1" in text
        assert "nothing beat" not in text

    @pytest.mark.parametrize(
        ("seeds", "advice"),
        [
            (1, "run the sweep with seeds: 3 or more"),
            (2, "run the sweep with seeds: 3 or more"),
            (3, "with seeds: 3, runs with other seeds will follow"),
        ],
    )
    def test_a_running_sweep_recommends_only_settings_that_are_missing(self, seeds: int, advice: str) -> None:
        study = Study(epochs=1)
        study.run(0, [0.1], {"method.scale": 0}, origin="plain")
        study.run(1, [0.3], {"method.scale": 1.0})
        report = sweep_report(study, state="running", seeds=seeds)
        assert f"One seed says nothing about noise: {advice}." in report.verdict[0]
        assert not any("`" in sentence for sentence in report.verdict)
        assert (
            ("run the sweep with seeds" in " ".join(report.verdict)),
            "runs with other seeds" in report.verdict[1],
        ) == (
            (seeds < 3),
            (seeds == 3),
        )

    def test_it_shows_the_measured_and_the_expected_gain_of_the_winner(self) -> None:
        study = Study(epochs=1)
        for number, (origin, aps) in enumerate(
            {"plain": (0.10, 0.12, 0.11), "searcher": (0.30, 0.19, 0.15), "user": (0.31, 0.16, 0.11)}.items()
        ):
            for seed, ap in enumerate(aps):
                again = {"origin": "finalist", "repeats": 3 * number, "seed": seed} if seed else {"origin": origin}
                study.run(3 * number + seed, [ap], {"method.scale": float(number)}, **again)
        _, gain, *_ = sweep_report(study, seeds=3).verdict
        assert gain.startswith(
            "+0.060 over the student without distillation but with the same inheritance (trial 0) on the seeds that"
        )
        assert "corrected for 2 comparisons: inside the noise" in gain
        assert "so it is not known whether this is a gain; seeds:" in gain
        assert "the best of several was also lucky" in gain

    def test_it_warns_if_speeds_cannot_be_ranked(self) -> None:
        disturbed = two_objectives(disturbed_by="other runs worked on the device")
        (said,) = [each for each in disturbed.verdict if "rank" in each]
        assert said.startswith(
            "Do not rank trials by images/s: 4 of 4 trials (0, 1, 2, 3) were measured while other work ran"
        )
        assert {each.is_on_front for each in disturbed.standings} == {None}
        assert "front" not in [chart.name for chart in sweep_charts(disturbed)]
        assert not any("rank" in each for each in two_objectives().verdict)

    def test_a_scheduler_that_stopped_no_trial_is_mentioned(self) -> None:
        study = Study(epochs=3)
        for trial in range(3):
            study.start(trial, {"method.scale": 0.1 * (trial + 1)})
            study.report(trial, 1, 0.1 * (trial + 1), rung=0)
            study.report(trial, 3, 0.2 * (trial + 1), rung=1)
            study.end(trial, "completed", 3)
        (said,) = [each for each in sweep_report(study).verdict if "stopped no trial" in each]
        assert said == (
            "The scheduler (asha) stopped no trial and saved nothing: of the trials at its rungs (3 at epoch 1, 3 at "
            "epoch 3) each was among the best 1 in 3 of those that had reached the rung before."
        )


class TestFigures:
    @pytest.mark.parametrize("report", [sweep_report(asha_study()), two_objectives()], ids=["asha", "two objectives"])
    def test_each_figure_is_valid_for_plotly_and_json_without_nan(self, report: SweepReport) -> None:
        for chart in sweep_charts(report):
            plotly.graph_objects.Figure(chart.figure)
            json.dumps(chart.figure, allow_nan=False)

    def test_each_figure_has_a_description(self) -> None:
        for chart in sweep_charts(sweep_report(asha_study())):
            assert len(chart.alt) > 20, chart.name
            assert len(chart.caption) > 60, chart.name

    def test_curves_of_trials_that_failed_are_drawn_without_a_winner(self) -> None:
        study = Study(epochs=3)
        study.start(0, {"method.scale": 0.1})
        study.report(0, 1, 0.2)
        study.end(0, "failed", 1)
        report = sweep_report(study)
        assert report.standings == []
        assert {chart.name: chart.alt for chart in sweep_charts(report)}["curves"] == "Learning curves of 1 trials"

    def test_figures_without_data_are_left_out(self) -> None:
        assert [chart.name for chart in sweep_charts(sweep_report(asha_study()))] == CHARTS
        assert "front" in [chart.name for chart in sweep_charts(two_objectives())]
        study = Study(epochs=1)
        study.run(0, [0.1], {"method.scale": 0.1})
        few = [chart.name for chart in sweep_charts(sweep_report(study, scheduler=RunAll()))]
        assert few == ["curves", "cost", "parallel", "slices"]


@in_a_browser
class TestInBrowser:
    @pytest.fixture(scope="class")
    @classmethod
    def folder(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return tmp_path_factory.mktemp("page")

    @pytest.fixture(scope="class")
    @classmethod
    def opened(cls, folder: Path) -> Opened:
        return open_page(render_sweep_html(sweep_report(asha_study())), folder, extra=USE_THE_TABLE)

    def test_the_page_requests_nothing_and_has_no_errors(self, opened: Opened) -> None:
        assert (opened.requests, opened.console) == ([], [])

    def test_each_chart_shows_all_of_its_trials(self, opened: Opened) -> None:
        traces = {name: chart["data"] for name, chart in opened.charts.items()}
        assert list(traces) == CHARTS
        assert len(traces["curves"]) == NUM_TRIALS
        lines = [trace for trace in traces["parallel"] if trace["name"] != "scale"]
        assert len(lines) == NUM_SEARCHED
        assert {len(trace["x"]) for trace in lines} == {len(SPACE) + 1}
        assert [len(trace["x"]) for trace in traces["importance"]] == [len(SPACE)]
        assert len(traces["contour"][1]["x"]) == NUM_SEARCHED
        panels: dict[str, int] = {}
        for trace in traces["slices"]:
            panels[trace["xaxis"]] = panels.get(trace["xaxis"], 0) + len(trace["x"])
        assert list(panels.values()) == [NUM_SEARCHED] * len(SPACE)
        rungs = sweep_report(asha_study()).stopping
        assert rungs is not None
        drawn = [round(x) for trace in traces["rungs"] for x in trace["x"]]
        assert [drawn.count(index) for index in range(3)] == [rung.reached for rung in rungs.rungs]
        assert drawn.count(0) == NUM_SEARCHED

    def test_each_point_is_drawn(self, opened: Opened) -> None:
        on_screen = {name: (chart["points"], chart["lines"]) for name, chart in opened.charts.items()}
        assert on_screen["slices"][0] == NUM_SEARCHED * len(SPACE)
        assert on_screen["contour"][0] == NUM_SEARCHED
        assert on_screen["parallel"][0] == NUM_SEARCHED * (len(SPACE) + 1)
        assert on_screen["parallel"][1] == NUM_SEARCHED
        # A trial that was stopped after one epoch is a point without a line.
        long = [trial for trial in sweep_report(asha_study()).trials if len(trial.reports) > 1]
        assert on_screen["curves"][1] >= len(long)

    def test_the_table_can_be_sorted_and_searched(self, opened: Opened) -> None:
        report = sweep_report(asha_study())
        by_value = sorted(report.trials, key=lambda trial: trial.objectives[0] or 0.0)
        assert opened.extra["lowest"] == str(by_value[0].trial)
        assert opened.extra["highest"] == str(by_value[-1].trial)
        assert opened.extra["sorted"] == "descending"
        stopped = {str(trial.trial) for trial in report.trials if trial.state == "stopped"}
        assert set(opened.extra["stopped"]) == stopped

    def test_no_chart_is_blank_on_a_screenshot(self, opened: Opened, folder: Path) -> None:
        page = render_sweep_html(sweep_report(asha_study()))
        picture = Image.open(screenshot(page, folder, height_px=opened.height_px)).convert("RGB")
        paper = picture.getpixel((2, 2))
        for name, chart in opened.charts.items():
            left, top, width, height = chart["box"]
            region = picture.crop((round(left), round(top), round(left + width), round(top + height)))
            colours = region.getcolors(1 << 24) or []
            inked = sum(count for count, colour in colours if colour != paper)
            vivid = sum(count for count, colour in colours if max(colour) - min(colour) > 60)
            assert inked > 0.01 * width * height, name
            assert vivid > 100, name

    def test_several_objectives_have_a_pareto_front(self, tmp_path: Path) -> None:
        front = open_page(render_sweep_html(two_objectives()), tmp_path).charts["front"]["data"]
        assert {trace["name"]: sorted(trace["x"]) for trace in front} == {
            "dominated": [20.0],
            "on the front": [5.0, 10.0, 30.0],
        }

    def test_hostile_text_does_not_run(self, tmp_path: Path) -> None:
        study = Study(epochs=1)
        study.run(0, [0.1], {"method.mask": EVIL, EVIL: 1.0})
        title = open_page(render_sweep_html(sweep_report(study)), tmp_path, extra="() => document.title").extra
        assert title == "weights for shapes – fgd sweep"


@in_a_browser
def test_requests_and_errors_of_a_page_are_detected(tmp_path: Path) -> None:
    page = "<html><body><img src='http://tracker.example/x.png'><script>console.error('oh')</script></body></html>"
    opened = open_page(page, tmp_path)
    assert opened.requests == ["http://tracker.example/x.png"]
    assert any("oh" in line for line in opened.console)
