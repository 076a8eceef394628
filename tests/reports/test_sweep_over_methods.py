"""The report on a sweep over methods: which method, how certain that is, and for which classes."""

import html
import json
import re
from pathlib import Path
from statistics import fmean

import plotly.graph_objects
import pytest

from fgd_core.spec.dimensions import Choice
from fgd_core.spec.kinds.distill import DistillSpec
from fgd_core.spec.methods import Pkd
from fgd_core.spec.search import RunAll
from fgd_core.spec.sweep_report import Alternatives, SweepReport
from service.client.sweep_report import alternatives_table, class_table
from service.jobs.alternative_text import alternative_tables
from service.reports.sweep_html import render_sweep_html, sweep_charts
from tests.client.test_catalogue_command import shown
from tests.reports.browser import CHROMIUM, open_page
from tests.reports.recorded_jobs import CLASSES
from tests.reports.recorded_sweeps import METHOD_SEEDS, METHOD_SPACE, Study, methods_report, sweep_report

FGD, PKD, MGD, CWD = 2, 4, 6, None
"""The best trial of each method; of `cwd` no trial started."""

READ_THE_TABLES = """() => {
  const rows = (selector) => [...document.querySelectorAll(`${selector} tbody tr`)];
  const cells = (row) => [...row.children].map((cell) => cell.textContent);
  return { methods: rows(".alternatives").map(cells), classes: rows(".class-ap").map(cells) };
}"""


@pytest.fixture(scope="module")
def report() -> SweepReport:
    return methods_report()


@pytest.fixture(scope="module")
def by_method(report: SweepReport) -> Alternatives:
    (found,) = report.alternatives
    assert found.path == "method.type"
    return found


class TestAlternatives:
    def test_each_method_has_its_best_trial_and_the_best_method_is_first(self, by_method: Alternatives) -> None:
        assert [(row.value, row.best) for row in by_method.rows] == [
            ("pkd", PKD),
            ("fgd", FGD),
            ("mgd", MGD),
            ("cwd", CWD),
        ]

    def test_the_default_weights_are_a_trial_of_the_methods_base_and_the_plain_student_of_none(
        self, by_method: Alternatives
    ) -> None:
        trials = {row.value: row.num_trials for row in by_method.rows}
        assert trials == {"pkd": 2, "fgd": 3, "mgd": 2, "cwd": 0}

    def test_the_cost_of_a_method_includes_its_repeats(self, by_method: Alternatives) -> None:
        again = METHOD_SEEDS - 1
        epochs = {row.value: row.epochs for row in by_method.rows}
        assert epochs == {"pkd": 2 * (2 + again), "fgd": 2 * (3 + 2 * again), "mgd": 2 * 2, "cwd": 0}

    def test_the_gain_of_the_winner_is_that_of_the_verdict(self, report: SweepReport, by_method: Alternatives) -> None:
        assert by_method.rows[0].gain == report.gains["plain"]

    def test_each_gain_is_corrected_for_all_repeated_configurations(self, by_method: Alternatives) -> None:
        gains = [row.gain for row in by_method.rows[:2]]
        assert [(gain.comparisons, gain.verdict) for gain in gains if gain is not None] == [(3, "clear")] * 2

    def test_nothing_is_claimed_of_a_method_that_was_not_repeated(self, by_method: Alternatives) -> None:
        gain = by_method.rows[2].gain
        assert gain is not None
        assert (gain.verdict, gain.why_unknown) == ("unknown", "chosen_by_it")
        assert by_method.rows[3].gain is None

    def test_nothing_is_decided_while_the_sweep_runs(self) -> None:
        (found,) = methods_report(state="running").alternatives
        assert {row.gain.why_unknown for row in found.rows if row.gain is not None} == {"pending"}

    def test_the_ap_of_a_class_is_the_mean_over_fresh_seeds(self, report: SweepReport, by_method: Alternatives) -> None:
        fresh = [trial for trial in report.trials if trial.repeats == PKD]
        expected = fmean(trial.result.scores.per_class["star"].ap or 0.0 for trial in fresh if trial.result is not None)
        assert len(fresh) == METHOD_SEEDS - 1
        assert by_method.rows[0].class_ap["star"] == pytest.approx(expected)
        assert set(by_method.plain_class_ap) == set(CLASSES)

    def test_a_choice_of_another_field_has_a_table_as_well(self) -> None:
        study = Study(epochs=1)
        for trial, backbone in enumerate(("resnet18", "resnet50", "resnet18")):
            study.run(trial, [0.1 + 0.1 * trial], {"student.backbone.name": backbone})
        space = {"student.backbone.name": Choice(values=("resnet18", "resnet50"))}
        (found,) = sweep_report(study, space=space, scheduler=RunAll()).alternatives
        assert [(row.value, row.num_trials, row.best) for row in found.rows] == [("resnet18", 2, 2), ("resnet50", 1, 1)]

    def test_a_choice_among_numbers_has_none(self) -> None:
        study = Study(epochs=1)
        study.run(0, [0.1], {"method.scale": 0.2})
        assert sweep_report(study, space={"method.scale": Choice(values=(0.2, 1.0))}).alternatives == []


class TestRecommendation:
    def test_it_contains_the_chosen_method_with_its_published_values(self, report: SweepReport) -> None:
        assert report.recommendation is not None
        spec = report.recommendation.spec
        assert isinstance(spec, DistillSpec)
        assert spec.method == Pkd(weight=12.0, scale=0.5)

    def test_fields_of_the_bases_method_are_not_in_it(self, report: SweepReport) -> None:
        assert report.recommendation is not None
        assert not {"alpha", "temperature", "mask"} & set(report.recommendation.spec.model_dump()["method"])


class TestConditionalFields:
    def test_importance_covers_all_fields(self, report: SweepReport) -> None:
        assert report.importance is not None
        assert set(report.importance.shares) == set(METHOD_SPACE)
        assert next(iter(report.importance.shares)) == "method.type"
        assert report.importance.num_left_out == 0

    def test_charts_are_valid(self, report: SweepReport) -> None:
        charts = {chart.name: chart for chart in sweep_charts(report)}
        assert {"parallel", "importance", "slices"} <= set(charts)
        for chart in charts.values():
            plotly.graph_objects.Figure(chart.figure)
            json.dumps(chart.figure, allow_nan=False)


class TestCommandLine:
    def test_it_has_a_row_for_each_method(self, report: SweepReport) -> None:
        (table,) = alternative_tables(report)
        lines = shown(alternatives_table(table)).splitlines()
        assert [line.split()[0] for line in lines[1:] if line[0] != " "] == ["pkd", "fgd", "mgd", "cwd"]
        classes = shown(class_table(table)).splitlines()
        assert classes[0].split()[-5:] == ["pkd", "fgd", "mgd", "no", "distillation"]
        assert {line.split()[0] for line in classes[1:] if line.strip()} == set(CLASSES)


class TestPage:
    def test_a_sweep_without_a_choice_has_no_table(self) -> None:
        study = Study(epochs=1)
        study.run(0, [0.1], {"method.scale": 0.2})
        space = {"method.scale": METHOD_SPACE["method.scale"]}
        assert 'class="alternatives"' not in render_sweep_html(sweep_report(study, space=space))

    def test_it_says_what_is_not_known(self, report: SweepReport) -> None:
        text = html.unescape(re.sub(r"<[^>]+>", " ", render_sweep_html(report)))
        assert "unknown: not repeated with fresh seeds" in text
        assert "over 3 fresh seeds" in text


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine: the page cannot be opened")
def test_a_browser_shows_the_methods_and_all_charts(report: SweepReport, tmp_path: Path) -> None:
    opened = open_page(render_sweep_html(report), tmp_path, extra=READ_THE_TABLES)
    assert (opened.requests, opened.console) == ([], [])
    assert [row[0] for row in opened.extra["methods"]] == ["pkd", "fgd", "mgd", "cwd"]
    assert opened.extra["methods"][0][6].endswith("clear")
    assert [row[0] for row in opened.extra["classes"]] == list(CLASSES)
    assert {len(row) for row in opened.extra["classes"]} == {1 + 4}
    searched = 2 * 3
    lines = [trace for trace in opened.charts["parallel"]["data"] if trace["name"] != "scale"]
    assert len(lines) == searched
    # The temperature belongs to fgd and the weight to pkd: two trials each.
    points = [len(trace["x"]) for trace in opened.charts["slices"]["data"]]
    assert sorted(points) == [2, 2, searched, searched]
