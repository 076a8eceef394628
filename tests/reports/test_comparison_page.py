"""The page of a comparison: a real browser draws its forest plots, and it requests nothing from the network."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fgd_core.spec.comparison import Comparison
from service.compare.assembly import compare
from service.compare.request import CompareRequest, RunFile
from service.reports.comparison_page import render_comparison
from service.reports.forest import forest_charts
from tests.compare.evaluations import DrawnDataset, detections, evidence
from tests.reports.browser import CHROMIUM, open_page
from tests.reports.test_report_page import EVIL


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """Return a comparison in which one class gained, one has too few boxes, and a run has a hostile name."""
    ground = DrawnDataset(7, num_images=60)
    files = []
    for seed, skill in ((1, 0.95), (2, 0.3)):
        folder = tmp_path_factory.mktemp("run")
        evidence(ground, detections(ground, seed, skill=skill), folder)
        path = folder / "evaluation.npz"
        files.append(RunFile(job_id=f"j{seed}", name=EVIL, kind="train", seed=seed, path=path, sha256=""))
    return compare(CompareRequest(first=files[:1], second=files[1:], resamples=200, random_seed=0))


def page(comparison: Comparison) -> str:
    return render_comparison(comparison, generated_at=datetime(2026, 1, 1, tzinfo=UTC))


class TestPage:
    def test_it_loads_nothing_from_the_network(self, comparison: Comparison) -> None:
        assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!data:)""", page(comparison))
        assert "default-src 'none'" in page(comparison)

    def test_it_contains_every_sentence_and_class(self, comparison: Comparison) -> None:
        text = page(comparison)
        assert text.count('<p class="said">') == len(comparison.sentences) > 2
        assert all(f"<th>{row.name}</th>" in text for row in comparison.classes)
        assert "too little data" in text

    def test_a_hostile_name_is_shown_as_text(self, comparison: Comparison) -> None:
        assert EVIL not in page(comparison)


class TestForest:
    def test_classes_are_sorted_by_difference_and_have_intervals(self, comparison: Comparison) -> None:
        (chart,) = [chart for chart in forest_charts(comparison) if chart.name == "forest-classes"]
        by_place = sorted(
            (y, x, minus, plus)
            for trace in chart.figure["data"]
            for y, x, minus, plus in zip(
                trace["y"], trace["x"], trace["error_x"]["arrayminus"], trace["error_x"]["array"], strict=True
            )
        )
        differences = [row.change for row in comparison.classes if row.change is not None]
        expected = sorted(differences, key=lambda change: change.value, reverse=True)
        assert [x for _, x, *_ in by_place] == [change.value for change in expected]
        for (_, x, minus, plus), change in zip(by_place, expected, strict=True):
            if change.low is not None and change.high is not None:
                assert (x - minus, x + plus) == pytest.approx((change.low, change.high))
        assert {trace["name"] for trace in chart.figure["data"]} == {
            change.finding.replace("_", " ") for change in differences
        }

    @pytest.mark.skipif(CHROMIUM is None, reason="no Chromium to draw with")
    def test_a_browser_draws_all_classes_and_requests_nothing(self, comparison: Comparison, tmp_path: Path) -> None:
        opened = open_page(page(comparison), tmp_path)
        assert (opened.requests, opened.console) == ([], [])
        assert set(opened.charts) == {chart.name for chart in forest_charts(comparison)}
        changes = [row.change for row in (*comparison.scores, *comparison.classes)]
        changes += [row.beyond_overall for row in comparison.classes]
        assert sum(chart["points"] for chart in opened.charts.values()) == sum(change is not None for change in changes)
